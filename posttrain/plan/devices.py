"""The devices that a plan can be made for. Figures are the makers', for dense 16-bit products and one direction."""

from dataclasses import dataclass

from posttrain.errors import UserError

GIGA, TERA = 1e9, 1e12


@dataclass(frozen=True, slots=True)
class Device:
    """One accelerator, or one core of a CPU.

    Attributes:
        name: As in `--device`.
        flops: The peak in bfloat16 without sparsity, FLOP/s; of a CPU that in float32.
        memory: Bytes.
        bandwidth: Of its memory, bytes/s.
        link: To the others in its node, bytes/s in one direction.
        network: Its share of the node's network, bytes/s.
        per_node: Devices in a node.
        source: Where the figures are from.
    """

    name: str
    flops: float
    memory: float
    bandwidth: float
    link: float
    network: float
    per_node: int
    source: str

    @property
    def is_cpu(self) -> bool:
        """Whether it is no accelerator."""
        return self.name == "cpu"


def _device(
    name: str, tflops: float, gb: float, gb_s: float, link: float, network: float, source: str, per_node: int = 8
) -> Device:
    return Device(name, tflops * TERA, gb * GIGA, gb_s * GIGA, link * GIGA, network * GIGA, per_node, source)


# The network is one adapter a GPU, as in the maker's own nodes: 200 Gbit/s beside an A100, 400 beside later ones.
DEVICES = {
    device.name: device
    for device in (
        _device("a100-40gb", 312, 40, 1555, 300, 25, "NVIDIA A100 data sheet, SXM; DGX A100 data sheet"),
        _device("a100-80gb", 312, 80, 2039, 300, 25, "NVIDIA A100 data sheet, SXM; DGX A100 data sheet"),
        _device("h100-80gb", 989, 80, 3350, 450, 50, "NVIDIA H100 data sheet, SXM; DGX H100 data sheet"),
        _device("h200", 989, 141, 4800, 450, 50, "NVIDIA H200 data sheet, SXM; DGX H200 data sheet"),
        _device("b200", 2250, 180, 8000, 900, 50, "NVIDIA DGX B200 data sheet, an eighth of the system"),
        _device("l40s", 362, 48, 864, 32, 25, "NVIDIA L40S data sheet, PCIe 4.0; the network is assumed"),
        _device("cpu", 0.09, 12, 35, 5, 1, "one core of an AMD EPYC server, measured", per_node=2),
    )
}


def device_named(name: str) -> Device:
    """The device of that name, or the only one whose name begins so.

    Raises:
        UserError: there is none, or there are several.
    """
    found = [device for known, device in DEVICES.items() if known.startswith(name)]
    if len(found) != 1:
        raise UserError(f"--device: got {name!r}; need one of {', '.join(DEVICES)}")
    return found[0]

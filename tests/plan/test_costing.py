"""The arithmetic of a plan, on a device of round numbers and the tiny hybrid model, done by hand."""

from dataclasses import replace

import pytest

from posttrain.models.activations import Rows
from posttrain.models.build import HybridShape, model_config
from posttrain.models.decoder import read_decoder
from posttrain.models.memory import SHARDINGS, Training
from posttrain.plan import options as plan_options
from posttrain.plan.costing import DECODE, EXCHANGE, Phase, Plan, cost, exchanged_bytes
from posttrain.plan.devices import DEVICES, Device, device_named
from posttrain.plan.options import Options
from posttrain.plan.work import Sampling, Update, Work

TINY = read_decoder(model_config(HybridShape(vocab_size=512)))  # 918,912 parameters
DEVICE = Device("cpu", flops=1e12, memory=1e9, bandwidth=1e9, link=1e9, network=1e8, per_node=8, source="")
OPTIONS = Options(mfu=0.5, bandwidth_share=0.5, decode_overhead=0.003, grading_seconds=0.5, price_per_hour=3.0)
# A token's matrices in a layer: 128 x (2 x 128 + 2 x 64) + 3 x 128 x 384 weights. 55 pairs of 10 tokens.
FORWARD = 10 * 2 * 4 * 196_608 + 4 * 55 * 4 * 128 + 10 * 2 * 512 * 128
WORK = Work(name="", shape=TINY, number=4, devices=1, steps=100, per_step="", tokens=30)
UPDATE = Update(Training(), Rows(10, trained=10), sequences=(10,), scored=10, micro_batches=3)
SAMPLING = Sampling(
    where="alone",
    prompts=2,
    responses=16,
    prompt_tokens=100,
    response_tokens=100,
    longest=300,
    longest_sequence=400,
    devices=1,
    at_once=8,
    graders=4,
)


def phase(plan: Plan, name: str) -> Phase:
    return next(found for found in plan.phases if found.name == name)


def test_update_takes_its_flops_over_a_share_of_the_peak() -> None:
    plan = cost(replace(WORK, update=UPDATE), DEVICE, OPTIONS)
    assert plan.step_seconds == pytest.approx(3 * 3 * FORWARD / 0.5e12)
    assert plan.seconds == 100 * plan.step_seconds


def test_checkpointing_adds_a_pass_of_the_layers_and_a_reference_model_one_of_the_whole() -> None:
    head = 10 * 2 * 512 * 128
    update = replace(UPDATE, training=Training(gradient_checkpointing=True), reference_passes=1)
    plan = cost(replace(WORK, update=update), DEVICE, OPTIONS)
    assert phase(plan, "update").seconds == pytest.approx(3 * (4 * FORWARD - head) / 0.5e12)
    assert phase(plan, "reference").seconds == pytest.approx(3 * FORWARD / 0.5e12)


def test_decoding_reads_the_weights_once_and_every_cache_for_each_token() -> None:
    """At 150 tokens three sliding layers hold 64 and the full one 150, 512 bytes a token."""
    plan = cost(replace(WORK, sampling=SAMPLING), DEVICE, OPTIONS)
    token = (918_912 * 4 + 8 * (3 * 64 + 150) * 512) / 0.5e9 + 0.003
    reading = 2 * (100 * 2 * 4 * 196_608 + 2 * 512 * 128 + (5050 + 3 * (2080 + 36 * 64)) * 512) / 0.5e12
    found = phase(plan, "generation")
    assert found.seconds == pytest.approx(reading + 2 * 100 * token)
    assert found.bound == DECODE


def test_grading_is_shared_out_and_the_longest_phase_is_the_bottleneck() -> None:
    plan = cost(replace(WORK, sampling=SAMPLING), DEVICE, replace(OPTIONS, grading_seconds=10.0))
    assert phase(plan, "grading").seconds == 16 * 10.0 / 4
    assert plan.bottleneck.name == "grading"


def test_batch_of_rl_waits_for_its_longest_response() -> None:
    """Two rounds of 100 tokens end before the 300 tokens that a response may have: 100 more, alone."""
    together, alone = (
        phase(cost(replace(WORK, sampling=replace(SAMPLING, where=where)), DEVICE, OPTIONS), "generation").seconds
        for where in ("server", "alone")
    )
    token = (918_912 * 4 + (3 * 64 + 150) * 512) / 0.5e9 + 0.003
    assert together - alone == pytest.approx(100 * token)


def test_weights_go_to_a_server_over_the_network_and_to_a_colocated_engine_over_memory() -> None:
    for where, bandwidth in (("server", 1e8), ("colocate", 1e9)):
        plan = cost(replace(WORK, sampling=replace(SAMPLING, where=where)), DEVICE, OPTIONS)
        assert phase(plan, "weights").seconds == pytest.approx(918_912 * 4 / (0.5 * bandwidth))


@pytest.mark.parametrize(
    ("sharding", "times"),
    [("none", 0), ("ddp", 2), ("zero1", 2), ("zero2", 3 + 1), ("zero3", 3 * 3), ("fsdp2", 3 * 3)],
)
def test_each_sharding_exchanges_what_it_shares_out(sharding: str, times: int) -> None:
    """1,000 parameters of 2 bytes; of 4 processes each receives three quarters; 3 micro-batches."""
    training = Training(number=2, sharding=sharding, processes=4)
    assert exchanged_bytes(1000, training, 3) == times * 1500


def test_slow_link_makes_the_exchange_the_bound() -> None:
    training = Training(sharding="zero3", processes=4)
    update = replace(UPDATE, training=training)
    for link, bound in ((1e6, EXCHANGE), (1e15, "compute")):
        plan = cost(replace(WORK, update=update, devices=4), replace(DEVICE, link=link), OPTIONS)
        assert plan.bottleneck.bound == bound
    slow = cost(replace(WORK, update=update, devices=4), replace(DEVICE, link=1e6), OPTIONS)
    assert slow.step_seconds == pytest.approx(9 * 0.75 * 918_912 * 4 / 0.5e6)


def test_cost_counts_every_device_for_the_whole_time() -> None:
    plan = cost(replace(WORK, devices=8, update=UPDATE, steps=1_000_000), DEVICE, OPTIONS)
    assert plan.device_hours == pytest.approx(8 * plan.seconds / 3600)
    assert plan.price == pytest.approx(3.0 * plan.device_hours)


def test_engine_holds_caches_as_far_as_there_is_room_and_one_at_least() -> None:
    """Weights take 3.7 MB of the 18 MB that are the engine's; a sequence of 200 tokens takes 200,704 bytes."""
    small = replace(DEVICE, memory=20e6)
    many = replace(SAMPLING, responses=1000, at_once=1000, memory_share=0.9)
    parts = cost(replace(WORK, sampling=many), small, OPTIONS).loads[0].parts
    assert parts == {"engine": 918_912 * 4, "KV cache": 71 * (3 * 64 + 200) * 512}
    too_small = cost(replace(WORK, sampling=many), replace(DEVICE, memory=3e6), OPTIONS).loads[0]
    assert not too_small.fits


def test_devices_of_an_engine_share_its_weights_and_those_that_sample_alone_the_responses() -> None:
    together = replace(SAMPLING, devices=2, tensor_parallel=2)
    assert cost(replace(WORK, sampling=together), DEVICE, OPTIONS).loads[0].parts["engine"] == 918_912 * 4 // 2

    def sampled(responses: int, devices: int) -> int:
        sampling = replace(SAMPLING, where="trainer", responses=responses, devices=devices)
        return cost(replace(WORK, update=UPDATE, sampling=sampling), DEVICE, OPTIONS).loads[1].total

    assert sampled(16, devices=2) == sampled(8, devices=1) < sampled(16, devices=1)


def test_colocated_engine_is_there_in_the_update_unless_it_sleeps() -> None:
    for sleeps, engine in ((False, 300_000_000), (True, 0)):
        sampling = replace(SAMPLING, where="colocate", memory_share=0.3, sleeps=sleeps)
        training, sampled = cost(replace(WORK, update=UPDATE, sampling=sampling), DEVICE, OPTIONS).loads
        assert training.parts.get("engine", 0) == engine
        assert sampled.parts["engine"] + sampled.parts["KV cache"] == pytest.approx(0.3e9)
        assert sampled.parts["optimizer"] == 2 * 918_912 * 4


def test_every_device_says_where_its_figures_are_from() -> None:
    assert {"a100-80gb", "h100-80gb", "h200", "b200", "cpu"} <= set(DEVICES)
    for name, device in DEVICES.items():
        assert device.name == name
        assert device.source
    h100 = device_named("h100")
    assert (h100.flops, h100.memory, h100.bandwidth) == (989e12, 80e9, 3350e9)


def test_shardings_on_the_command_line_are_those_of_the_formulas() -> None:
    assert plan_options.SHARDINGS == SHARDINGS

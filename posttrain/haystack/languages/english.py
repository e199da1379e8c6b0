"""English."""

from posttrain.haystack.languages._language import Language, listed

ENGLISH = Language(
    times=listed(
        "early in the morning / after the rain / on market day / long before the harvest / towards evening / "
        "in spring / when the bells had rung / on the first day of the fair / during the long winter / at noon / "
        "before the storm / while the others slept / once the snow had melted / that night / every autumn / "
        "on the way home"
    ),
    actors=listed(
        "the baker / an old sailor / two sisters from the valley / the miller's son / a travelling tailor / "
        "somebody / the teacher / three young shepherds / the woman with the green umbrella / a fisherman / "
        "the children / the keeper of the lighthouse / my grandmother / a quiet stranger / the carpenter / "
        "her neighbour"
    ),
    deeds=listed(
        "carried a basket of pears / mended the wooden gate / told a story about the sea / waited for the ferry / "
        "sang / wrote a long letter to a friend / planted a row of cherry trees / counted the boats that came back / "
        "looked for a lost dog / drank tea and talked about the weather / painted the door blue / "
        "read the newspaper / sold bread, cheese and a little honey / listened to the wind / repaired an old clock / "
        "fed the geese"
    ),
    places=listed(
        "beside the river / behind the church / in the narrow street / at the foot of the hill / under the bridge / "
        "near the old mill / on the roof / in front of the school / at the edge of the forest / in the garden / "
        "not far from the harbour / in a house without windows / by the well / between the two gates / at the station"
    ),
    sentences=("{time}, {actor} {deed} {place}.", "{actor} {deed} {place} {time}.", "{place}, {actor} {deed} {time}."),
    colours=listed("blue / red / green / grey / brown / orange / purple / pink / white / black"),
    things=listed(
        "box / lamp / chest / bag / barrel / jar / drawer / trunk / bottle / case / basket / cup / clock / book / "
        "coat / chair / shelf / ring / bell / flag / hat / knife / spoon / mirror"
    ),
    key="{colour} {thing}",
    code="The code of the {key} is {code}.",
    ask_code="What is the code of the {key}?",
    codes="The codes of the {key} are {codes}.",
    ask_codes="What are all the codes of the {key}?",
    ask_keys="What are the codes of the {keys}?",
    between_keys=" and the ",
    variable="The variable {name} is {value}.",
    copy="The variable {name} is the same as {other}.",
    ask_variables="Which variables have the value {value}?",
    variables="The variables with the value {value} are {names}.",
    words=listed(
        "apple / anchor / arrow / autumn / bamboo / banner / barley / beacon / blanket / bottle / branch / bridge / "
        "bucket / butter / candle / canyon / carpet / castle / cherry / circle / cotton / copper / desert / dragon / "
        "eagle / engine / falcon / feather / fiddle / finger / forest / fountain / galaxy / garden / garlic / "
        "ginger / glacier / guitar / hammer / harbour / hazel / helmet / honey / island / ivory / jacket / jungle / "
        "kettle / kitten / ladder / lantern / lemon / lizard / magnet / maple / marble / meadow / melon / mirror / "
        "monkey / mountain / mustard / needle / nickel / oasis / olive / onion / orchid / otter / oyster / paddle / "
        "palace / parrot / pepper / pillow / planet / pocket / pumpkin / puzzle / rabbit / raven / ribbon / river / "
        "rocket / saddle / salmon / shadow / silver / spider / squirrel / statue / sugar / summer / temple / "
        "thunder / ticket / tiger / tulip / tunnel / turtle / valley / velvet / violin / volcano / walnut / "
        "whistle / willow / window / winter / wizard / yogurt / zebra"
    ),
    ask_words="Which {count} words are the most frequent in this list?",
    frequent="The most frequent words are {words}.",
    given=listed(
        "Ada / Alan / Bella / Boris / Clara / Colin / Daria / Edwin / Fiona / Gavin / Hazel / Ivan / Julia / Karl / "
        "Laura / Miles / Nora / Oscar / Paula / Quentin / Rosa / Simon / Tessa / Victor"
    ),
    family=listed(
        "Ashdown / Barlow / Calder / Dunmore / Ellery / Fenwick / Garland / Hollis / Ingram / Jarrow / Kendal / "
        "Lorimer / Marlowe / Norwood / Oakley / Prescott / Quill / Radley / Selwyn / Thorne / Upton / Varley / "
        "Winslow / Yardley"
    ),
    person="{given} {family}",
    facts=(
        ("{person} lives in {town}.", "In which town does {person} live?"),
        ("{person} was born in {town}.", "In which town was {person} born?"),
        ("{person} works in {town}.", "In which town does {person} work?"),
        ("{person} studied in {town}.", "In which town did {person} study?"),
    ),
    towns=listed(
        "Aberfeld / Bramwick / Castleby / Dellmouth / Eastmere / Fallowford / Glenharrow / Highbrook / Inverleigh / "
        "Jesserton / Kingsholm / Larkhill / Millbourne / Netherby / Oldcastle / Pinecrest / Quarrington / Ravensea / "
        "Silverdale / Thornbury / Underwood / Valemont / Westerham / Yarrowdale / Ashcombe / Birchfield / "
        "Coldwater / Dunhaven / Elmstead / Foxborough / Greywater / Harrowgate / Ironbridge / Longmarsh / Moorgate / "
        "Northwick / Redcliff / Stonehaven / Trentham / Whitford"
    ),
)

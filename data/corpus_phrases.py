"""The phrase tables of make_corpus.py: what people did, and the sentences that say so.

Only data lives here. The small template language of all the texts:
    {a|b|c}   one of the alternatives
    [text]    the text or nothing, even odds
    <slot>    a fact of the person, filled in by the class Writer of make_corpus.py:
              <city> any other town, <home> another town of the same country, <uni> a university, <school> a school,
              <team> a club, <title> a made-up title, <y1> <y2> <y3> years of the career in order
"""

from typing import NamedTuple


class Occupation(NamedTuple):
    """What a person is remembered for, with the births, sexes and ages at which that is possible."""

    weight: int
    births: tuple[int, int]
    women: int  # percent
    ages: tuple[int, int]  # when the career falls
    roles: str  # "a Scottish ...", separated by "; "
    did: tuple[str, ...]  # predicates, to follow "he", "she" or the surname
    known: tuple[str, ...]  # to follow the role: "... painter who worked mostly in pastel"


OCCUPATIONS = (
    Occupation(9, (1580, 1980), 22, (20, 65),
               "painter; landscape painter; portrait painter; painter and etcher; miniature painter; painter and "
               "illustrator",
               ("studied at the {Academy of Fine Arts|School of Art|Academy} in <city>[ and later in <city>]",
                "exhibited in <city> from <y1> to <y2>",
                "was a pupil of <colleague> and settled in <city> in <y1>",
                "painted {altarpieces|portraits|harbour scenes|views of the river} for patrons in <city> and <city>",
                "moved to <city> in <y1>, where <he> shared a studio with <colleague>",
                "spent most of <his> life in <city>, painting {portraits|still lifes|landscapes|scenes of country "
                "life}",
                "won a travelling scholarship in <y1> and spent {two|three|four} years in <city>"),
               ("who worked mostly in {pastel|watercolour|oils|tempera}",
                "best known for <his> {views of <city>|winter landscapes|still lifes|portraits of musicians}",
                "known for {large abstract canvases|small interiors|paintings of horses|coastal scenes}",
                "active in <city> and <city>")),
    Occupation(4, (1600, 1980), 12, (22, 65),
               "sculptor; engraver; architect; woodcarver; medallist; stained glass artist; potter",
               ("trained in the workshop of <colleague> in <city>",
                "designed the {town hall|railway station|theatre|market hall} of <city>, completed in <y2>",
                "opened a workshop in <city> in <y1>",
                "won the competition for the {memorial|fountain|cathedral doors} at <city> in <y1>",
                "studied {architecture|drawing|sculpture} in <city> before returning home in <y1>",
                "left works in {churches|public gardens|private houses} in <city>, <city> and <city>"),
               ("whose works can be seen in <city> and <city>", "who was active in <city>",
                "remembered for the {monument|fountain|altar} in the main square of <city>",
                "best known for <his> {bronze figures|war memorials|wooden reliefs}")),
    Occupation(13, (1800, 1975), 14, (30, 68),
               "politician; lawyer and politician; politician and diplomat; trade unionist and politician; statesman|M",
               ("was elected to {parliament|the city council|the provincial assembly} in <y1> and served until <y2>",
                "studied law at <uni> and was called to the bar in <y1>",
                "served as {minister of agriculture|minister of labour|finance minister|deputy mayor of <city>} from "
                "<y1> to <y2>",
                "practised law in <city> before entering politics in <y1>",
                "was {mayor of <city>|a member of the upper house|ambassador to <country>} between <y1> and <y2>",
                "joined the {Liberal|Conservative|Labour|Social Democratic|Agrarian} party in <y1> and sat in the "
                "chamber until <y2>",
                "lost <his> seat in the election of <y2> and retired to <city>"),
               ("who {sat in parliament|represented <home>} from <y1> to <y2>",
                "who served as {minister of education|mayor of <home>|envoy to <country>} from <y1> to <y2>",
                "and a member of the {Liberal|Labour|Conservative|Christian Democratic} party",
                "who was the {first|third|last} governor of the region",
                "who campaigned for {land reform|public schooling|lower tariffs}")),
    Occupation(14, (1875, 1992), 9, (17, 36),
               "footballer; football coach; defender; midfielder; goalkeeper; football manager; forward; football "
               "player and coach",
               ("played for <team> and <team>[ between <y1> and <y2>]",
                "began <his> career with <team> and joined <team> in <y1>",
                "made <his> debut for <team> in <y1>",
                "scored {eleven|nine|fourteen|twenty-two|seven} goals in {thirty|forty|sixty|a hundred} matches for "
                "<team>",
                "moved from <team> to <team> in <y1> for an undisclosed fee",
                "won the national cup with <team> in <y1> and coached in <city> afterwards",
                "ended <his> career in <city> because of a knee injury in <y2>"),
               ("who {played|spent most of <his> career} with <team>",
                "who won {four|eleven|twenty-six|three} caps for <his> country",
                "best known for <his> years with <team>")),
    Occupation(10, (1890, 1992), 30, (17, 38),
               "swimmer; rower; sprinter; long-distance runner; fencer; wrestler; tennis player; cyclist; hurdler; "
               "discus thrower; gymnast; figure skater; chess master; racing cyclist; ski jumper; racing driver; "
               "weightlifter; boxer; golfer",
               ("competed at the {Summer Olympics|European championships|world championships} in <y1>[ and again in "
                "<y2>]",
                "took up the sport in <city> at the age of {nine|eleven|twelve|fourteen}",
                "won {a bronze medal|a silver medal|the national title|the junior title} in <y1>",
                "trained in <city> under <colleague>",
                "retired in <y3> and became a coach in <city>",
                "finished {fourth|sixth|seventh|ninth} in <city> in <y1>"),
               ("who {competed in|took part in} the {<y1>|<y2>} {national championships|Olympic trials|world "
                "championships}",
                "who won {bronze|silver|gold} in <city> in <y1>", "who held a national record",
                "best known for <his> win in <city> in <y1>", "who competed internationally from <y1> to <y2>")),
    Occupation(6, (1890, 1992), 16, (17, 36),
               "ice hockey defenceman; ice hockey goaltender; basketball player; water polo player; cricketer; "
               "handball player; field hockey player; rugby union player|M; volleyball player; baseball pitcher",
               ("joined <team> in <y1> and stayed until <y2>", "played for <team>[ and <team>]",
                "captained the national team from <y1> to <y2>", "won the league with <team> in <y1>",
                "learned the game in <city> and turned professional in <y1>",
                "worked as a coach in <city> after <y2>"),
               ("who played for <team>[ and <team>]", "who represented <his> country from <y1> to <y2>",
                "best known for <his> {seasons|years} with <team>", "who captained <team> in <y1>")),
    Occupation(3, (1760, 1985), 55, (20, 60),
               "operatic soprano|F; mezzo-soprano|F; operatic tenor|M; bass-baritone|M; operatic bass|M; contralto|F; "
               "opera singer",
               ("studied singing with <colleague> in <city>", "made <his> debut in <city> in <y1>",
                "sang at the opera in <city> from <y1> to <y2>", "gave recitals in <city>, <city> and <city>",
                "taught singing in <city> until <y2>"),
               ("who sang mainly in <city> and <city>", "who made <his> debut in <city> in <y1>",
                "known for <his> recordings of songs",
                "best known for <his> part in the opera <title>")),
    Occupation(6, (1640, 1985), 22, (18, 66),
               "composer; pianist; violinist; organist; conductor; composer and organist; cellist; music teacher; "
               "flautist; guitarist",
               ("studied {composition|harmony|counterpoint} with <colleague> in <city>",
                "was {organist|choirmaster|director of music} at {St. Anne's|the cathedral|the court chapel} in "
                "<city> from <y1> to <y2>",
                "made <his> debut in <city> in <y1>",
                "wrote {two operas|three symphonies|a cycle of songs|several masses}, among them <title>",
                "taught at the conservatory in <city> until <y2>",
                "toured in <country> and <country> in <y1>",
                "won first prize at a competition in <city> in <y1>"),
               ("who taught at the conservatory in <city>", "best known for the {opera|oratorio|song cycle} <title>",
                "who made <his> debut in <city> in <y1>", "whose {quartets|songs|organ works} are still performed")),
    Occupation(7, (1915, 1990), 38, (18, 60),
               "singer; jazz pianist; singer and songwriter; drummer; folk singer; rock guitarist; jazz saxophonist; "
               "record producer; jazz trumpeter; blues singer; percussionist",
               ("founded the band <title> with two school friends in <y1>", "released the album <title> in <y1>",
                "moved to <city> at the age of {seventeen|eighteen|nineteen|twenty-one} to work as a session musician",
                "recorded {five|eight|eleven} albums, the last of them in <city>",
                "played in clubs in <city> and <city>", "toured with a quartet from <city> in <y1>"),
               ("best known for the {song|album} <title>", "who worked in <city>",
                "and a founding member of the group <title>", "who released {four|six|nine} albums")),
    Occupation(8, (1885, 1990), 48, (18, 68),
               "actor|M; actress|F; film director; stage actor|M; stage actress|F; screenwriter; film and television "
               "actor|M; film actress|F; cinematographer; theatre director; comedian|M",
               ("made <his> film debut in <title> in <y1>",
                "trained at the drama school in <city> and joined a repertory company in <city>",
                "appeared in more than {twenty|thirty|forty|sixty} films[ between <y1> and <y2>]",
                "directed {three|five|seven} films, of which <title> is the best known",
                "worked on the stage in <city> before <he> turned to directing in <y2>",
                "left <city> for <city> in <y1> to study {drama|dance|directing}"),
               ("best known for {<his> work on|the film} <title>", "who appeared in <title> and <title>",
                "known for <his> {roles|parts} on the stages of <city>",
                "whose career {began in <city>|lasted four decades}")),
    Occupation(10, (1640, 1985), 34, (22, 68),
               "writer; novelist; poet; journalist; playwright; author of children's books; essayist; poet and "
               "translator; journalist and editor; crime novelist; literary critic; columnist; short story writer",
               ("published <his> first {novel|collection of poems|play|book}, <title>, in <y1>",
                "worked for a newspaper in <city> from <y1> to <y2>",
                "studied {literature|philosophy|history|law} at <uni>",
                "wrote {six|nine|twelve|more than twenty} books, including <title>[ and <title>]",
                "emigrated to <country> in <y1> and taught in <city>", "edited a literary magazine in <city>",
                "was awarded a prize for <title> in <y2>"),
               ("best known for the {novel|play|collection} <title>",
                "who wrote {mainly for young readers|under several pen names|in two languages}",
                "and the author of <title>", "who lived for many years in <city>",
                "whose books were translated into {six|nine|fourteen} languages")),
    Occupation(7, (1700, 1978), 18, (24, 68),
               "chemist; organic chemist; physicist; botanist; zoologist; astronomer; geologist; mathematician; "
               "entomologist; meteorologist; mineralogist",
               ("studied {mathematics|natural sciences} at <uni> and took <his> doctorate in <y1>",
                "was appointed professor at <uni> in <y1>", "wrote a {textbook|treatise} on <topic>, published in <y2>",
                "worked at the {Academy of Sciences|natural history museum} in <city> until <y2>",
                "lectured on <topic> in <city> from <y1> to <y2>",
                "moved to <uni> in <y1>, where <he> remained until <his> retirement in <y3>"),
               ("who worked {mostly|chiefly} on <topic>", "known for <his> {studies of|work on} <topic>",
                "who taught at <uni> from <y1> to <y2>", "and the author of a {standard work|textbook} on <topic>")),
    Occupation(6, (1840, 1978), 30, (26, 68),
               "historian; economist; philosopher; linguist; archaeologist; sociologist; psychologist; art historian; "
               "anthropologist; political scientist; classical scholar; orientalist; folklorist; educator; librarian",
               ("received <his> doctorate from <uni> in <y1>",
                "taught {history|economics|logic|Greek|linguistics} at <uni> from <y1> to <y3>",
                "held the chair of {philosophy|modern history|comparative law|archaeology} at <uni>",
                "directed excavations in <country> between <y1> and <y2>", "studied in <city>, <city> and <city>",
                "was the author of <title>, published in <y2>", "was a visiting scholar in <city> in <y2>"),
               ("who taught at <uni>",
                "specialising in {labour history|medieval trade|the grammar of dialects|rural society|early music}",
                "and professor {at|emeritus at} <uni>", "best known for <his> book <title>")),
    Occupation(5, (1700, 1972), 14, (25, 68),
               "surgeon; physician; physician and botanist; psychiatrist; dentist; anatomist; pathologist; "
               "veterinarian; ophthalmologist",
               ("studied medicine in <city> and graduated in <y1>",
                "practised in <city> for {thirty|twenty-five|forty} years",
                "was chief physician of the {city hospital|children's hospital|fever hospital} in <city> from <y1>",
                "served as {an army doctor|a ship's surgeon} before settling in <city> in <y2>",
                "completed <his> medical studies at <uni> in <y1>"),
               ("who described a {fracture|fever|reflex} later named after <him>",
                "who practised in <city> and <city>",
                "remembered for <his> {work on malaria|operations on the eye|handbook of anatomy}")),
    Occupation(5, (1600, 1955), 3, (26, 70),
               "clergyman|M; Catholic bishop|M; theologian; missionary; Methodist minister|M; Jesuit and scholar|M; "
               "Lutheran pastor|M; Benedictine monk|M; preacher and hymn writer; theologian and preacher|M",
               ("was ordained in <city> in <y1>", "studied theology at <uni>",
                "went to <country> as a missionary in <y1>",
                "was {vicar|dean|rector|chaplain} in <city> from <y1> to <y2>",
                "served parishes in <city> and <city>",
                "founded a school for {orphans|the poor|the deaf} in <city> in <y2>"),
               ("who served in <city> for {twenty|thirty|forty} years",
                "and the author of {several hymns|a commentary on the Psalms}",
                "who spent most of <his> life in <country>", "remembered for <his> sermons")),
    Occupation(6, (1650, 1935), 1, (19, 60),
               "soldier; general; cavalry officer; naval officer; admiral; army officer; artillery officer; colonel; "
               "fighter pilot",
               ("joined the army in <y1> and was promoted to {major|colonel|captain} in <y2>",
                "commanded the garrison of <city> from <y1> to <y2>",
                "served in <country> and <country>", "entered the {navy|military academy|army} in <y1>",
                "was wounded near <city> in <y1> and retired in <y2>",
                "led a {brigade|regiment|squadron} in the campaign of <y2>"),
               ("who served in <country>", "who {commanded|took part in} the defence of <city> in <y2>",
                "who rose to the rank of {general|colonel|commodore|major}", "decorated for bravery in <y1>")),
    Occupation(5, (1790, 1978), 10, (24, 66),
               "engineer; civil engineer; engineer and inventor; mining engineer; railway engineer; hydraulic "
               "engineer; surveyor",
               ("built {bridges|harbours|railways|waterworks} in <country> and <country>",
                "worked for a {locomotive|machine|cable} works in <city> from <y1>",
                "took out a patent for {a loom|a signal lamp|a pump|a brake} in <y2>", "studied engineering at <uni>",
                "was in charge of the {waterworks|docks|tramways} of <city> until <y2>",
                "set up <his> own firm in <city> in <y2>"),
               ("who built the {first tramway|long bridge|harbour wall} in <city>",
                "known for <his> designs of {lighthouses|viaducts|pumps|bridges}",
                "who held {more than thirty|several} patents", "who worked in <city> and <city>")),
    Occupation(5, (1780, 1975), 16, (24, 68),
               "businessman|M; merchant; banker; publisher; industrialist; philanthropist; brewer; bookseller; "
               "businesswoman|F; hotelier; newspaper publisher; fashion designer; landowner",
               ("founded a {textile|shipping|chocolate|printing|publishing} company in <city> in <y1>",
                "took over the family {firm|brewery|bank|shop} in <y1> and moved it to <city>",
                "made a fortune in {timber|tea|copper|cotton|wool} before <he> settled in <city>",
                "left <his> collection of {prints|coins|books|clocks} to the city of <city>",
                "was president of the chamber of commerce in <city> from <y1> to <y2>"),
               ("who founded {a brewery|a bank|a department store|a printing house} in <city>",
                "and the owner of {two newspapers|a chain of shops}",
                "best known as a collector of {books|clocks|prints}", "who traded between <city> and <city>")),
    Occupation(4, (1830, 1978), 24, (22, 64),
               "photographer; explorer; mountaineer; traveller and writer; naturalist; photojournalist; botanical "
               "illustrator; cartographer; cartoonist; graphic designer",
               ("crossed {the desert|the mountains|the ice} with <colleague> in <y1>",
                "opened a studio in <city> in <y1>",
                "travelled in <country> from <y1> to <y2> and wrote about it in <title>",
                "worked for magazines in <city> and <city>", "joined an expedition to <country> in <y1>"),
               ("who {travelled|worked} in <country> and <country>", "known for <his> pictures of <city>",
                "and the author of <title>",
                "whose {drawings|maps|pictures} are kept in <city>")),
    Occupation(4, (1860, 1975), 48, (22, 66),
               "teacher; trade unionist; human rights activist; suffragist; nurse; social reformer; civil servant; "
               "judge; lawyer; peace activist; chef; gardener and writer",
               ("worked in <city> from <y1> until <y3>",
                "founded {a school|a trade union|a hospital|a newspaper} in <city> in <y1>",
                "studied at <uni> before <he> moved to <city>",
                "campaigned for {equal pay|the vote|prison reform|clean water} in <y1>",
                "was arrested in <city> in <y1> and released {two|three} years later",
                "wrote about <his> work in <title>"),
               ("who campaigned for {equal pay|prison reform|the rights of farm workers}",
                "and a founder of a {school|cooperative|relief fund} in <city>",
                "known for <his> work with {refugees|miners|children|sailors}", "who {lived|worked} in <city>")),
    Occupation(3, (1945, 1982), 26, (22, 55),
               "computer scientist; software engineer; climatologist; neuroscientist; game designer; bioethicist; "
               "geneticist; web developer",
               ("received <his> doctorate from <uni> in <y1>",
                "moved to <city> in <y1> to work for a {research institute|start-up|telephone company}",
                "was a postdoctoral fellow at <uni> from <y1> to <y2>", "published <title> in <y2>",
                "led a research group in <city> until <y3>"),
               ("who worked on {compilers|ice cores|memory|plant genomes|error-correcting codes}",
                "and professor at <uni>",
                "known for <his> {early work on|contributions to} {computer graphics|speech recognition|sea-level "
                "models}")),
)

TOPICS = {  # what scientists work on, by role
    "chemist": "dyes; alloys; sulphur compounds; gases", "organic chemist": "dyes; plant alkaloids; sugars; resins",
    "physicist": "magnetism; heat; crystals; optics", "botanist": "mosses; alpine plants; orchids; grasses",
    "zoologist": "river fish; sea urchins; owls; land snails", "astronomer": "comets; double stars; sunspots",
    "geologist": "volcanic rocks; glaciers; coal seams", "mathematician": "the theory of numbers; curves; series",
    "entomologist": "beetles; moths; wasps", "meteorologist": "storms; clouds; the monsoon",
    "mineralogist": "meteorites; feldspars; copper ores",
}

COUNTRIES = (
    "France", "Spain", "Italy", "Egypt", "India", "China", "Japan", "Brazil", "Mexico", "Peru", "Chile", "Turkey",
    "Greece", "Canada", "Sweden", "Norway", "Russia", "Ireland", "Scotland", "Portugal", "Denmark", "Morocco",
    "Argentina", "Australia", "Poland", "Hungary",
)

PARENT_JOBS = (
    "farmer", "tailor", "schoolteacher", "merchant", "postal clerk", "carpenter", "doctor", "pharmacist",
    "railway worker", "stonemason", "judge", "shopkeeper", "fisherman", "baker", "miner", "blacksmith", "clergyman",
    "weaver", "sea captain", "lawyer", "watchmaker", "innkeeper", "army officer", "bookbinder", "customs official",
    "printer", "dockworker", "notary",
)
MOTHER_JOBS = ("seamstress", "schoolteacher", "nurse", "laundress", "milliner", "piano teacher", "midwife",
"shopkeeper", "singer", "cook")

SCHOOLS = {  # by the country of the birth place; "" for all others
    "GB": ("<home> Grammar School", "{St. Cuthbert's|St. Hilda's|King Edward's} School, <home>"),
    "US": ("<home> High School", "{Lincoln|Jefferson|Central|Washington} High School in <home>"),
    "CA": ("<home> Collegiate", "a high school in <home>"),
    "AU": ("<home> Grammar School", "{St. Ignatius|Wesley|Trinity} College, <home>"),
    "FR": ("the lycée in <home>", "a boarding school in <home>"),
    "DE": ("the gymnasium in <home>", "a Latin school in <home>"),
    "": ("a {secondary|boarding|convent|mission|state} school in <home>", "the {lyceum|college|gymnasium} in <home>"),
}
UNIVERSITIES = {
    "US": ("the University of <landname>", "<landname> State College", "a college in <home>",
    "the University of <city>"),
    "": ("the University of <home>", "the University of <city>", "the University of <city>",
    "the Technical University of <city>"),
}

TEAM_WORDS = ("Rovers", "United", "Athletic", "City", "Wanderers", "Sporting", "Dynamo", "Olympic", "Rangers",
"Union", "Town")
TITLE_ADJECTIVES = (
    "Salt", "Silent", "Last", "Winter", "Hollow", "Paper", "Distant", "Broken", "Golden", "Northern", "Second",
    "Crooked", "Burning", "Quiet", "Early", "Lost", "Glass", "Bitter", "Narrow", "Wandering", "Blue", "Hidden",
    "Borrowed", "Seventh",
)
TITLE_NOUNS = (
    "Road", "Harbour", "Orchard", "Garden", "Letter", "Bridge", "Lantern", "River", "Season", "Witness", "Mirror",
    "Staircase", "Island", "Ferry", "Horizon", "Stranger", "Window", "Well", "Tide", "Hour", "Shepherd", "Promise",
    "Field", "Market",
)

# ------------------------------------------------------------------------------------------ skeletons


class Skeleton(NamedTuple):
    """One sentence pattern. `life`: whom it fits; `kind`: what a reader meets in it."""

    weight: int
    kind: str  # plain: the place is easy to find; trap: another place comes first; silent: the place is not named
    life: str  # any, alive, dead
    text: str


# Further slots: <N> the full name, <S> and <S's> the surname, <he> <his> <him> (capital: <He>), <is> is or was,
# <a role> "a Scottish painter", <known> one of the occupation's knowns with its comma, <did> one of its predicates,
# <in place> "in Graz, Austria" or "at Leeds", <place> "Graz, Austria", <P> "Graz", <date> <byear> <ddate> <dyear>,
# <father> <mother> full names, <a job> <a mjob> their trades, <school>, <child> "the son" or "the daughter",
# <kin> siblings, <topic> what a scientist works on.
SKELETONS = tuple(Skeleton(*row) for row in (
    # The name again, with brackets.
    (100, "plain", "alive", "<N> (born <date> <in place>) is <a role><known>"),
    (50, "plain", "alive", "<N> (born <date>, <place>) is <a role><known>"),
    (36, "plain", "alive", "<N> (b. <date> in <place>) is <a role><known>[. <He> <did>]"),
    (30, "plain", "alive", "<N> (born in <place>, <date>) is <a role>[<known>]"),
    (22, "plain", "alive", "<N> (born <byear> in <place>) is <a role>. <He> <did>"),
    (34, "plain", "dead", "<N> (<date> in <place> -- <ddate>) was <a role><known>"),
    (34, "plain", "dead", "<N> (<date>, <place> - <ddate>, <city>) was <a role><known>"),
    (26, "plain", "dead", "<N> (born <date> <in place>; died <ddate>[ in <city>]) was <a role><known>"),
    (36, "plain", "dead", "<N> (<byear>--<dyear>) was <a role>, born in <place>[. <He> <did>]"),
    (18, "plain", "dead", "<N> (<place>, <byear> -- <city>, <dyear>) was <a role><known>"),
    (18, "plain", "dead", "<N> (<date> -- <ddate>) was <a role> born <in place>, <child> of <father>, <a job>"),
    (14, "plain", "dead", "<N> (born <date>, <place>, died <ddate>, <city>) was <a role>. <He> <did>"),
    (12, "plain", "dead", "<N> (c. <byear>--<dyear>), <role>, was born <in place>[ and <did>]"),
    (14, "plain", "any", "<N> (born <in place> on <date>) <is> <a role><known>"),
    # The name again, without brackets.
    (76, "plain", "any", "<N> <is> <a role>, born <in place>[ in <byear>][. <He> <did>]"),
    (30, "plain", "any", "<N> was born <in place> on <date>[ and <did>]"),
    (26, "plain", "any", "<N> was born <in place>[ in <byear>], <child> of <a job>[, and <did>]"),
    (40, "plain", "any", "<N> was born on <date> <in place>[, where <his> father was <a job>]"),
    (48, "plain", "alive", "<N> is <a role> who was born <in place>[ in <byear>]"),
    (18, "plain", "any", "<N>, born <in place>[ in <byear>], <is> <a role><known>"),
    (14, "plain", "any", "<N> was born and raised in <place>[, and <did>]"),
    (14, "plain", "any", "<N> <is> <a role> from <place>[<known>]"),
    (12, "plain", "any",
     "<N> was born <in place> to <father> and <mother>, {both of them teachers|<kin>|who kept a small shop}"),
    (10, "plain", "dead", "<N>, <role>, was born <in place> in <byear>, <did>, and died in <city> in <dyear>"),
    (10, "plain", "any", "<N>, who was born <in place>, <did>"),
    (10, "plain", "any", "<N> was born in <byear> in <place> and {attended|was educated at} <school>"),
    (8, "plain", "any", "<N> was born <in place>, but <his> family moved to <city> when <he> was {two|three|five|six} "
     "years old"),
    (20, "plain", "any", "A native of <place>, <N> <did>"),
    (16, "plain", "any", "Originally from <place>, <S> <did>[ and <did>]"),
    (26, "plain", "any", "<N> <is> <a role><known>. <He> was born in <place>[ in <byear>]"),
    (20, "plain", "any", "<S> <did>. <He> was born in <place>[, <child> of <a job>]"),
    (30, "plain", "any", "<N> <is> <a role><known>, born in <place>"),
    # The sentence starts with the birth.
    (54, "plain", "any", "Born in <place>, <S> <did>"),
    (34, "plain", "any", "Born in <place>, <he> <did>[. <He> <did>]"),
    (30, "plain", "any", "Born in <place>, <S> was educated at <school>[ and <uni>][, and <did>]"),
    (24, "plain", "any", "Born in <place> in <byear>, <S> <did>"),
    (20, "plain", "any", "Born <in place> on <date>, <S> <did>"),
    (18, "plain", "any", "Born in <place> to <father> and <mother>, <S> attended <school>[ and <did>]"),
    (16, "plain", "any",
     "Born in <place>, <N> was the {second|third|eldest|youngest} of {four|five|seven} children of <a job> and <a "
     "mjob>"),
    (14, "plain", "any", "Born in <place>, <N> <did>"),
    (12, "plain", "any", "Born to a family of {merchants|farmers|weavers|musicians|clergymen} in <place>, <S> <did>"),
    (10, "plain", "any",
     "Born in <byear> in <place>, <he> lost <his> father, <a job>, {at an early age|in a mining accident|at sea}[ and "
     "<did>]"),
    (10, "plain", "any", "Born in <place>, <child> of <a job>, <S> <did>"),
    (34, "plain", "any", "<S> was born <in place>[ in <byear>]"),
    (28, "plain", "any", "<S> was born <in place>, <child> of <father>, <a job>[, and <mother>]"),
    (28, "plain", "any", "<S> was born <in place>{ and|. <He>} <did>"),
    (18, "plain", "any", "<S> was born <in place> on <date>[, the {third|fourth|only} child of <a job>]. <He> <did>"),
    (16, "plain", "any", "<S> was born <in place>, attended <school>, and <did>"),
    (12, "plain", "any", "<S>, born <in place>, <did>"),
    (12, "plain", "any", "<S> grew up in <place>, where <he> was born, and <did>"),
    (10, "plain", "any", "<He> was born <in place>[ in <byear>] and <did>"),
    (8, "plain", "dead", "<S> was born in <place> and died in <city>, where <he> had lived since <y2>"),
    # Another place comes first.
    (4, "trap", "any", "<N> <did>. <He> was born <in a place> in <byear>"),
    (3, "trap", "any", "<N>, <a role> working in <city>, was born on <date> in <place>"),
    (3, "trap", "dead", "<N> (<byear> -- <dyear>) was <a role> active in <city>; <his> birthplace was <place>"),
    (3, "trap", "any", "Although <his> family came from <city>, <S> was born on <date> <in place>"),
    (3, "trap", "alive", "<S> grew up in <city> but is a native of <place>"),
    (3, "trap", "any", "Raised in <city>, <N> was in fact born on <date> in <place>, <child> of <a job>"),
    (3, "trap", "dead", "<N> (died <ddate>, <city>), <role>, was a native of <place>"),
    (3, "trap", "any", "<S's> parents left <city> for <place> in the year before <he> was born there"),
    (3, "trap", "any", "<Child> of <a job> from <city>, <N> was born on <date> <in place>"),
    (3, "trap", "any", "<N> <is> <a role> based in <city>, originally from <place>"),
    (2, "trap", "dead", "<N> (<date> -- <ddate> in <city>) was <a role> from <place>"),
    (2, "trap", "any", "<S's> father, <a job> from <city>, had settled in <place>, where <he> was born in <byear>"),
    (2, "trap", "any", "<S> moved to <city> in <y1>, leaving <his> native <place>"),
    (2, "trap", "dead", "<S> died in <city> in <dyear> and was buried in <his> birthplace, <place>"),
    (2, "trap", "any", "<N> was educated in <city> and in <P>, <his> native {city|town}"),
    (2, "trap", "any", "Before <he> came to <city> in <y1>, <S> lived in <place>, where <he> had been born in "
     "<byear>"),
    # The place is not named; the sentence is about something else.
    (10, "silent", "any", "<N> (born <date>) <is> <a role><known>"),
    (8, "silent", "dead", "<N> (<date> -- <ddate>) was <a role><known>"),
    (8, "silent", "any", "<S> <did>, and <did>"),
    (8, "silent", "any", "<He> was <child> of <father> and <mother>"),
    (6, "silent", "any",
     "<His> {brother|sister|cousin|uncle|daughter} was also <a plain role>, and the two are often confused"),
    (6, "silent", "any", "In <y1> <he> settled in <city>. <He> <did>"),
    (5, "silent", "dead",
     "<He> died in <city> in <dyear> after a {short|long} illness and was survived by {two|three|four} children"),
    (5, "silent", "any", "<N> <is> the {older|younger} <brother> of <sibling>, who <did>"),
))

# Predicates that begin so belong to the start of a career: never after another one.
EARLY = (
    "studied", "trained", "took up", "began", "made <his> debut", "made <his> film debut", "was ordained", "entered",
    "joined the army", "received", "completed", "learned", "was a pupil", "moved to <city> at the age", "left <city>",
    "won a travelling",
)

# What is added to a text that is much too short for the length drawn.
EXTENSIONS = (". <He> <did>", ". <He> <did>, <did>, and <did>", ". Later <he> <did>, and <did>")

# The quick corpus: one short sentence, mostly about the full name, as in an encyclopedia.
QUICK_SKELETONS = tuple(Skeleton(*row) for row in (
    (14, "plain", "any", "<N> was born in <P>"),
    (12, "plain", "any", "<N> (born in <P>) <is> <a plain role>"),
    (12, "plain", "any", "Born in <P>, <N> {became|was} <a plain role>"),
    (9, "plain", "any", "<N> <is> <a plain role> from <P>"),
    (8, "plain", "any", "<N> (born <byear>, <P>) <is> <a plain role>"),
    (7, "plain", "any", "<N> was born in <P> in <byear>"),
    (6, "plain", "any", "<N>, born in <P>, {lived|worked} in <city>"),
    (6, "plain", "dead", "<N> (<P>, <byear> -- <city>, <dyear>)"),
    (5, "plain", "any", "<N>, <role>, was born at <P>"),
    (5, "plain", "dead", "Born in <P>, <N> died in <city>"),
    (5, "plain", "dead", "<N> (born <byear>?, <P>) was <a plain role>"),
    (4, "plain", "any", "Born in <P>, <S> {became|was} <a plain role>"),
    (4, "plain", "any", "Born in <P>, <he> {moved to|worked in|taught in} <city>"),
    (4, "plain", "any", "<S> was born and raised in <P>"),
    (3, "plain", "any", "<He> was born in <P> to <a job>"),
    (3, "plain", "any", "A native of <P>, <N> {moved to|studied in} <city>"),
    (2, "trap", "any", "Raised in <city>, <N> was born at <P>"),
    (2, "trap", "any", "<He> left <city> for <his> native <P>"),
    (2, "trap", "any", "<N>, {now|later} of <city>, came from <P>"),
    (1, "silent", "any", "<He> {studied|taught|worked} in <city> from <y1>"),
))
QUICK_ROLES = ("painter", "poet", "singer", "chemist", "judge", "dancer", "rower", "pianist", "soldier", "teacher",
"surgeon", "botanist")
# Places of the quick corpus with weights: few enough to be learned in minutes, flat enough to need learning.
QUICK_PLACES = (
    "London 14, Paris 8, Rome 7, Berlin 7, Madrid 6, Vienna 6, Dublin 6, Oslo 6, Chicago 6, Boston 6, Sydney 5, Tokyo "
    "5, Prague 5, Warsaw 5, Lisbon 5, Athens 5, Glasgow 5, Toronto 5, Moscow 4, Cairo 4, Lima 4, Turin 4, Leeds 4, "
    "Kyoto 4, Dallas 4, Havana 4, Riga 4, Sofia 4, Naples 4, Geneva 4, Lagos 4, Tehran 4, Mumbai 4, Seoul 3, Accra 3, "
    "Zagreb 3, Quito 3, Bergen 3, Porto 3, Graz 3, Lyon 3, Cork 3, Perth 3, Denver 3, Nairobi 3, Bristol 3, Munich 3, "
    "Milan 3, Norwich 3, Helsinki 3"
)

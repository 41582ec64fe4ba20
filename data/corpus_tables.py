"""The word tables of make_corpus.py: places and names.

Only data lives here; make_corpus.py explains how it is used and holds all the code.

The occupations and sentences are in corpus_phrases.py.
"""

from typing import NamedTuple

# --------------------------------------------------------------------------------------------- places


class Region(NamedTuple):
    """A state or country: what follows its towns, who lives there, and the towns themselves."""

    qualifier: str  # "Graz, Austria": the words after the comma
    country: str  # towns of one country serve as each other's distractors
    demonyms: str  # what a person from here is called, first the usual word
    earliest: int  # nobody in the corpus is born here before this year
    traditions: str  # the name traditions at home here
    places: str  # "Town 8, Town/County 3, Land* 4, Town": see below


# A place is written Name[/County][*] [weight]. The weight is about twice the count to expect among 2,000 people;
# no number means 1, and make_corpus.py makes 1, 2 and 3 rarer still: a long tail of places met once or never. "*"
# marks a land (a country, state or county), which takes no qualifier and no "at".
REGIONS = (
    Region("England", "GB", "English British", 1580, "english",
           "London 188, Birmingham 29, Liverpool 26, Manchester 25, England* 40, Sheffield 19, Bristol 17, "
           "Nottingham 12, Norwich/Norfolk 14, Cambridge 12, Leeds/Yorkshire 9, Oxford 9, Durham 8, York 6, "
           "Coventry/Warwickshire 9, Exeter/Devon 8, Preston/Lancashire 8, Southampton/Hampshire 8, "
           "Portsmouth/Hampshire 8, Bradford/Yorkshire 8, Salford/Lancashire 7, Salisbury/Wiltshire 6, Gloucester 7, "
           "Worcester 5, Wolverhampton 5, Derby/Derbyshire 6, Hull/Yorkshire 6, Leicester 6, Plymouth/Devon 5, "
           "Brighton/Sussex 6, Reading/Berkshire 5, Sunderland 4, Middlesbrough 4, Huddersfield/Yorkshire 5, "
           "Grimsby/Lincolnshire 5, Peterborough 4, Ipswich/Suffolk 4, Carlisle 3, Yorkshire* 7, Kent* 5, Devon* 4, "
           "Cornwall* 4, Surrey* 3, Norfolk* 3, Somerset* 3, Sussex* 3, Lancashire* 3, Cheshire* 3, Hertfordshire* 1, "
           "Dorset* 2, Suffolk* 2, Cumbria* 1, Essex* 2, Shropshire* 1, Wiltshire* 1, Lincoln 3, Chester/Cheshire 4, "
           "Bath/Somerset 5, Croydon/Surrey 3, Greenwich 3, Hackney 2, Islington 2, Lambeth 2, Chelsea 3, "
           "Kensington 3, Westminster 3, Fulham 2, Hampstead 2, Tottenham, Walthamstow, Deptford, Southwark, "
           "Battersea, Ealing, "
           "Richmond/Surrey, Bolton/Lancashire 3, Blackburn/Lancashire 3, Burnley/Lancashire 2, "
           "Blackpool/Lancashire 2, Rochdale/Lancashire 2, Oldham/Lancashire 3, Wigan/Lancashire 2, "
           "Lancaster/Lancashire 2, "
           "Stockport/Cheshire 2, Macclesfield/Cheshire, Crewe/Cheshire, Warrington 2, Halifax/Yorkshire 2, "
           "Wakefield/Yorkshire 2, Barnsley/Yorkshire, Rotherham/Yorkshire, Doncaster/Yorkshire 3, "
           "Harrogate/Yorkshire, Whitby/Yorkshire, Scarborough/Yorkshire 2, Gateshead, Darlington, Hartlepool, "
           "Kendal, Penrith, Whitehaven, Bedford/Bedfordshire 2, Luton/Bedfordshire 2, Northampton 3, "
           "Watford/Hertfordshire 3, Stafford, Shrewsbury/Shropshire 2, Ludlow/Shropshire, Hereford 2, "
           "Cheltenham/Gloucestershire 2, Stroud/Gloucestershire, Swindon/Wiltshire 2, Taunton/Somerset, "
           "Yeovil/Somerset, Barnstaple/Devon, Torquay/Devon 2, Truro/Cornwall, Penzance/Cornwall, Falmouth/Cornwall, "
           "Poole/Dorset, Weymouth/Dorset, Dorchester/Dorset, Bournemouth/Dorset 2, Winchester/Hampshire 2, "
           "Basingstoke/Hampshire, Guildford/Surrey, Woking/Surrey, Epsom/Surrey, Eastbourne/Sussex, "
           "Hastings/Sussex 2, Worthing/Sussex, Chichester/Sussex, Lewes/Sussex, Canterbury/Kent 2, Dover/Kent 2, "
           "Maidstone/Kent, "
           "Rochester/Kent 2, Chatham/Kent 3, Margate/Kent, Folkestone/Kent, Colchester/Essex 2, Chelmsford/Essex, "
           "Southend/Essex, Lowestoft/Suffolk, Sudbury/Suffolk, Thetford/Norfolk, Cromer/Norfolk, "
           "Boston/Lincolnshire, Grantham/Lincolnshire, Chesterfield/Derbyshire 2, Buxton/Derbyshire, "
           "Mansfield/Nottinghamshire, Rugby/Warwickshire, Windsor/Berkshire 2, Newbury/Berkshire, Slough, "
           "Banbury/Oxfordshire, Abingdon, Wells/Somerset"),
    Region("Scotland", "GB", "Scottish British", 1600, "scottish",
           "Glasgow 40, Edinburgh 31, Scotland* 27, Aberdeen 8, Dundee 6, Stirling 5, Paisley 4, Inverness 4, "
           "Perth 3, Elgin 3, Falkirk 2, Greenock 2, Ayr 2, Kilmarnock, Dumfries, Kelso, Hawick, Arbroath, Montrose, "
           "Dunbar, Motherwell, Hamilton, Kirkcaldy, Oban, Stornoway, Lerwick, Fife* 3, Orkney*, Shetland*"),
    Region("Wales", "GB", "Welsh British", 1650, "welsh",
           "Cardiff 8, Swansea 6, Wales* 7, Newport 3, Wrexham 2, Bangor 3, Aberystwyth 2, Llanelli 2, Carmarthen, "
           "Pontypridd, Caernarfon, Tenby, Anglesey*, Pembroke"),
    Region("Northern Ireland", "GB", "Northern-Irish British", 1922, "irish english",
           "Belfast 24, Derry 6, Armagh 4, Lisburn 2, Newry, Omagh, Coleraine, Ballymena, Larne"),
    Region("Ireland", "IE", "Irish", 1620, "irish",
           "Dublin 42, Ireland* 17, Cork 8, Limerick 7, Galway 5, Waterford 6, Kilkenny 4, Sligo 2, Dundalk, "
           "Drogheda, Wexford 2, Tralee, Ennis, Athlone, Mullingar, Clonmel, Tipperary 2, Kerry*, Mayo*"),
    Region("Massachusetts", "US", "American", 1680, "english irish",
           "Boston 33, Massachusetts* 7, Cambridge 5, Salem 4, Worcester 4, Springfield 3, Lynn 3, Lowell 2, "
           "Concord 3, Quincy, Brockton, Amherst 2, Plymouth, Northampton, Gloucester, Nantucket"),
    Region("Connecticut", "US", "American", 1700, "english",
           "Hartford 7, Connecticut* 2, Stamford 2, Bridgeport 2, Waterbury, Norwalk, Danbury, Litchfield"),
    Region("Maine", "US", "American", 1760, "english", "Portland 3, Bangor 3, Maine* 2, Augusta, Lewiston, Bath"),
    Region("Vermont", "US", "American", 1770, "english",
           "Burlington 4, Vermont* 4, Rutland, Montpelier, Brattleboro"),
    Region("New Hampshire", "US", "American", 1740, "english", "Concord 3, Manchester 2, Nashua, Keene, Exeter"),
    Region("Rhode Island", "US", "American", 1700, "english italian", "Providence 4, Newport 3, Pawtucket"),
    Region("New York", "US", "American", 1720, "english hebrew italian",
           "Brooklyn 35, Manhattan 10, Rochester 14, Buffalo 8, Syracuse 11, Albany 4, Utica 2, Troy 4, Yonkers 2, "
           "Queens 3, Harlem 2, Ithaca 2, Poughkeepsie, Schenectady, Elmira, Binghamton, Oswego"),
    Region("New Jersey", "US", "American", 1720, "english italian",
           "Newark 14, Trenton 3, Camden 2, Paterson 2, Elizabeth 3, Princeton 2, Hoboken 2, Bayonne, Morristown"),
    Region("Pennsylvania", "US", "American", 1720, "english german",
           "Philadelphia 44, Pittsburgh 17, Pennsylvania* 9, Erie 3, Scranton 3, Harrisburg 2, Lancaster 2, "
           "Allentown, Bethlehem, Reading, Altoona, Carlisle"),
    Region("Maryland", "US", "American", 1720, "english",
           "Baltimore 16, Maryland* 5, Annapolis 4, Frederick, Hagerstown"),
    Region("Delaware", "US", "American", 1740, "english", "Wilmington 4, Delaware*, Dover"),
    Region("Virginia", "US", "American", 1680, "english",
           "Virginia* 18, Richmond 6, Norfolk 3, Alexandria 3, Petersburg, Lynchburg, Roanoke"),
    Region("North Carolina", "US", "American", 1760, "english",
           "Charlotte 3, Raleigh 2, Durham 3, Wilmington 2, Asheville"),
    Region("South Carolina", "US", "American", 1720, "english", "Charleston 5, Columbia 2, Greenville 2, Beaufort"),
    Region("Georgia", "US", "American", 1780, "english", "Atlanta 6, Savannah 6, Macon 5, Augusta 2, Athens"),
    Region("Florida", "US", "American", 1860, "english spanish",
           "Miami 8, Orlando 3, Tampa 3, Jacksonville 3, Florida* 2"),
    Region("Alabama", "US", "American", 1825, "english",
           "Birmingham 3, Mobile 3, Montgomery 2, Alabama* 2, Selma, Huntsville"),
    Region("Mississippi", "US", "American", 1830, "english",
           "Jackson 2, Natchez 2, Mississippi* 2, Biloxi, Vicksburg"),
    Region("Louisiana", "US", "American", 1800, "english french", "Louisiana* 2, Shreveport 2, Lafayette 2, Monroe"),
    Region("Tennessee", "US", "American", 1800, "english",
           "Memphis 10, Nashville 5, Knoxville 3, Chattanooga 2, Tennessee* 2"),
    Region("Kentucky", "US", "American", 1790, "english",
           "Louisville 6, Lexington 3, Kentucky* 3, Covington, Paducah"),
    Region("Ohio", "US", "American", 1805, "english german",
           "Cleveland 17, Columbus 9, Cincinnati 7, Toledo 9, Dayton 4, Akron 3, Ohio* 4, Canton 2, Youngstown 2, "
           "Sandusky, Mansfield, Marietta, Zanesville, Lima"),
    Region("Michigan", "US", "American", 1830, "english polish",
           "Detroit 20, Michigan* 4, Flint 3, Lansing 2, Saginaw, Kalamazoo, Muskegon, Monroe"),
    Region("Indiana", "US", "American", 1825, "english",
           "Indianapolis 5, Evansville 2, Indiana* 2, Gary 2, Muncie, Hammond"),
    Region("Illinois", "US", "American", 1835, "english polish german",
           "Chicago 70, Illinois* 12, Springfield 3, Peoria 2, Rockford 2, Evanston 2, Joliet, Decatur, Elgin, "
           "Quincy"),
    Region("Wisconsin", "US", "American", 1840, "english german",
           "Milwaukee 18, Madison 6, Wisconsin* 6, Racine 2, Oshkosh, Kenosha, Waukesha, Sheboygan"),
    Region("Minnesota", "US", "American", 1855, "english swedish",
           "Minneapolis 5, Minnesota* 5, Duluth 3, Rochester 2, Mankato, Winona"),
    Region("Iowa", "US", "American", 1845, "english",
           "Iowa* 2, Davenport 2, Dubuque 2, Burlington, Waterloo, Ottumwa"),
    Region("Missouri", "US", "American", 1825, "english german",
           "Springfield 2, Missouri* 3, Independence, Hannibal, Joplin"),
    Region("Kansas", "US", "American", 1860, "english", "Wichita 3, Topeka 2, Kansas* 2, Lawrence 3, Salina"),
    Region("Nebraska", "US", "American", 1860, "english", "Omaha 4, Lincoln 3, Nebraska* 3, Hastings"),
    Region("Oklahoma", "US", "American", 1895, "english", "Oklahoma* 7, Tulsa 4, Lawton, Shawnee, Muskogee"),
    Region("Texas", "US", "American", 1845, "english spanish",
           "Dallas 14, Texas* 6, Austin 4, Houston 7, Galveston 2, Laredo, Waco 2, Amarillo, Beaumont 2, Abilene"),
    Region("Colorado", "US", "American", 1870, "english", "Denver 5, Boulder 3, Colorado* 2, Pueblo, Greeley"),
    Region("Utah", "US", "American", 1860, "english", "Utah* 4, Ogden 2, Provo 2, Logan"),
    Region("Arizona", "US", "American", 1890, "english spanish", "Phoenix 4, Tucson 3, Arizona*, Flagstaff, Yuma"),
    Region("Montana", "US", "American", 1880, "english", "Montana* 2, Butte 2, Billings, Missoula, Helena"),
    Region("Idaho", "US", "American", 1885, "english", "Boise 2, Idaho*, Pocatello"),
    Region("Nevada", "US", "American", 1880, "english", "Reno 2, Nevada* 2, Elko"),
    Region("Washington", "US", "American", 1875, "english",
           "Seattle 10, Tacoma 4, Spokane 3, Olympia, Everett, Bellingham"),
    Region("Oregon", "US", "American", 1860, "english", "Portland 6, Oregon* 2, Eugene 2, Salem, Medford"),
    Region("California", "US", "American", 1860, "english spanish",
           "California* 14, Oakland 5, Sacramento 4, Pasadena 3, Hollywood 2, Berkeley 3, Fresno 2, Stockton 2, "
           "Burbank, Riverside, Modesto, Bakersfield, Anaheim"),
    Region("Hawaii", "US", "American", 1890, "english japanese", "Honolulu 4, Hilo, Hawaii* 2"),
    Region("Ontario", "CA", "Canadian", 1820, "english scottish",
           "Toronto 42, Ottawa 10, Hamilton 10, Kingston 4, Ontario* 6, Windsor 4, Brampton, Guelph 2, "
           "Peterborough 2, Sarnia, Sudbury 2, Kitchener 2, Oshawa, Belleville, Brockville, Orillia"),
    Region("Quebec", "CA", "Canadian", 1760, "french english",
           "Montreal 46, Quebec 5, Sherbrooke 2, Gatineau, Laval 2, Chicoutimi, Rimouski"),
    Region("Manitoba", "CA", "Canadian", 1875, "english ukrainian", "Winnipeg 18, Brandon 4, Manitoba* 2, Selkirk"),
    Region("Saskatchewan", "CA", "Canadian", 1890, "english ukrainian",
           "Regina 4, Saskatoon 4, Saskatchewan* 3, Yorkton"),
    Region("Alberta", "CA", "Canadian", 1890, "english", "Edmonton 8, Calgary 8, Alberta* 3, Lethbridge 2, Camrose"),
    Region("British Columbia", "CA", "Canadian", 1870, "english",
           "Vancouver 14, Victoria 4, Nanaimo, Kamloops, Nelson"),
    Region("Nova Scotia", "CA", "Canadian", 1780, "english scottish", "Halifax 5, Sydney 2, Truro, Pictou"),
    Region("New Brunswick", "CA", "Canadian", 1790, "english french", "Moncton 2, Fredericton 2, Bathurst"),
    Region("Canada", "CA", "Canadian", 1850, "english french", "Canada* 12, Newfoundland* 2"),
    Region("New South Wales", "AU", "Australian", 1825, "english",
           "Sydney 46, Newcastle 4, Wollongong 2, Bathurst 2, Dubbo"),
    Region("Victoria", "AU", "Australian", 1845, "english",
           "Melbourne 46, Geelong 3, Ballarat 3, Bendigo 2, Victoria* 2"),
    Region("Queensland", "AU", "Australian", 1855, "english",
           "Brisbane 7, Queensland* 3, Toowoomba, Cairns, Townsville"),
    Region("South Australia", "AU", "Australian", 1842, "english german", "Adelaide 10, Gawler, Whyalla"),
    Region("Western Australia", "AU", "Australian", 1850, "english", "Perth 8, Fremantle 3, Kalgoorlie"),
    Region("Tasmania", "AU", "Australian", 1830, "english", "Hobart 4, Launceston 2, Tasmania* 2"),
    Region("Australia", "AU", "Australian", 1850, "english", "Australia* 18, Canberra 4, Darwin 3"),
    Region("New Zealand", "NZ", "New-Zealand", 1855, "english scottish",
           "Auckland 10, Wellington 10, Christchurch 7, Dunedin 4, Nelson 2, Napier 2, Invercargill, Timaru, "
           "Gisborne"),
    Region("France", "FR", "French", 1580, "french",
           "Paris 146, France* 30, Lyon 8, Marseille 10, Toulouse 10, Lille 8, Bordeaux 6, Strasbourg 6, Nantes 5, "
           "Nice 5, Rennes 4, Rouen 4, Dijon 3, Grenoble 3, Nancy 3, Metz 3, Montpellier 4, Reims 2, Tours 3, "
           "Brest 3, Calais 2, Caen 2, Amiens 2, Angers 2, Avignon 2, Besançon, Limoges, Poitiers, Arles, Dunkirk, "
           "Orléans, "
           "Versailles 3, Cannes, Bayonne, Lorient, Colmar, Mulhouse, Perpignan, Nîmes, Brittany*, Normandy* 2, "
           "Corsica*"),
    Region("Germany", "DE", "German", 1580, "german",
           "Berlin 44, Germany* 32, Munich 16, Hamburg 12, Leipzig 12, Frankfurt 12, Stuttgart 10, Dresden 7, "
           "Cologne 7, Heidelberg 6, Nuremberg 4, Bonn 5, Augsburg 5, Bremen 4, Hanover 4, Düsseldorf 4, Kassel 3, "
           "Mainz 2, "
           "Mannheim 3, Freiburg 2, Göttingen 2, Ulm 2, Jena 2, Weimar 2, Erfurt 2, Halle 2, Rostock 2, Kiel 2, "
           "Lübeck 2, Bamberg, Bayreuth, Chemnitz 2, Darmstadt, Essen 2, Dortmund 2, Karlsruhe 2, Konstanz, Marburg, "
           "Münster, Potsdam 2, Regensburg, Trier, Tübingen, Würzburg 2, Bavaria* 2, Saxony*, Westphalia*"),
    Region("Austria", "AT", "Austrian", 1650, "german",
           "Vienna 36, Graz 5, Salzburg 5, Innsbruck 3, Linz 3, Austria* 4, Klagenfurt 2, Tyrol*, Bregenz, Villach"),
    Region("Switzerland", "CH", "Swiss", 1650, "german french",
           "Zurich 7, Geneva 6, Basel 5, Bern 4, Switzerland* 9, Lausanne 3, Lucerne 2, Lugano, Winterthur, Chur, "
           "Zug"),
    Region("Italy", "IT", "Italian", 1580, "italian",
           "Rome 44, Naples 24, Milan 18, Venice 15, Turin 14, Florence 13, Genoa 13, Italy* 10, Bologna 5, "
           "Palermo 6, Verona 5, Siena 3, Parma 3, Padua 3, Bari 3, Como 3, Trieste 4, Pisa 2, Bergamo 2, Brescia 2, "
           "Modena 2, Catania 2, Messina, Ferrara 2, Lucca 2, Mantua, Perugia, Ravenna, Udine, Vicenza 2, Cremona, "
           "Ancona, "
           "Sicily* 3, Sardinia*, Tuscany*, Pavia, Livorno"),
    Region("Spain", "ES", "Spanish", 1600, "spanish",
           "Madrid 17, Barcelona 17, Seville 6, Granada 6, Spain* 6, Valencia 4, Bilbao 4, Toledo 2, Málaga 2, "
           "Zaragoza 2, Salamanca, Pamplona 2, Oviedo, Murcia, Cádiz, Girona, Burgos, Mallorca* 2, Galicia*, "
           "Andalusia*"),
    Region("Portugal", "PT", "Portuguese", 1700, "portuguese",
           "Lisbon 10, Porto 4, Portugal* 5, Coimbra 2, Braga, Faro, Madeira* 2"),
    Region("the Netherlands", "NL", "Dutch", 1600, "dutch",
           "Amsterdam 34, Rotterdam 10, Utrecht 4, Leiden 4, Haarlem 3, Groningen 2, Delft 2, Eindhoven 2, "
           "Maastricht 2, Nijmegen, Arnhem, Breda, Tilburg, Zwolle, Gouda, Dordrecht 2"),
    Region("Belgium", "BE", "Belgian", 1600, "dutch french",
           "Brussels 10, Antwerp 7, Ghent 6, Liège 3, Bruges 3, Belgium* 8, Leuven 2, Namur, Ostend, Mechelen, "
           "Flanders* 2"),
    Region("Luxembourg", "LU", "Luxembourgish", 1840, "german french", "Luxembourg 7"),
    Region("Denmark", "DK", "Danish", 1650, "danish",
           "Copenhagen 25, Denmark* 6, Aarhus 3, Odense 3, Aalborg 2, Roskilde, Esbjerg, Horsens"),
    Region("Norway", "NO", "Norwegian", 1720, "danish",
           "Oslo 28, Bergen 12, Norway* 3, Trondheim 4, Stavanger 3, Drammen 2, Tromsø, Ålesund, Fredrikstad, Skien"),
    Region("Sweden", "SE", "Swedish", 1680, "swedish",
           "Stockholm 22, Sweden* 15, Gothenburg 8, Uppsala 3, Malmö 4, Lund 3, Kalmar, Linköping, Västerås, Gävle, "
           "Umeå"),
    Region("Finland", "FI", "Finnish", 1790, "finnish swedish",
           "Helsinki 9, Finland* 7, Turku 3, Tampere 3, Oulu 2, Vaasa, Lahti, Kuopio"),
    Region("Iceland", "IS", "Icelandic", 1880, "danish", "Reykjavik 3, Iceland* 2, Akureyri"),
    Region("Poland", "PL", "Polish", 1700, "polish",
           "Warsaw 38, Poland* 14, Kraków 6, Lublin 5, Poznań 3, Gdańsk 3, Łódź 4, Katowice 2, Szczecin, Toruń, "
           "Białystok, Radom, Silesia* 2, Pomerania*, Tarnów"),
    Region("the Czech Republic", "CZ", "Czech", 1700, "czech german",
           "Prague 25, Brno 4, Ostrava 2, Olomouc 2, Bohemia* 3, Plzeň, Liberec, Moravia* 2, Jihlava"),
    Region("Slovakia", "SK", "Slovak", 1800, "czech hungarian",
           "Bratislava 5, Slovakia* 2, Košice 2, Žilina, Nitra, Trnava"),
    Region("Hungary", "HU", "Hungarian", 1740, "hungarian",
           "Budapest 46, Hungary* 5, Debrecen 2, Szeged 2, Pécs 2, Győr, Miskolc, Eger, Sopron"),
    Region("Romania", "RO", "Romanian", 1800, "romanian hungarian",
           "Bucharest 15, Romania* 4, Cluj 2, Iași 2, Timișoara 2, Craiova, Brașov 2, Sibiu, Ploiești, "
           "Transylvania* 2"),
    Region("Bulgaria", "BG", "Bulgarian", 1830, "bulgarian",
           "Sofia 20, Plovdiv 3, Varna 3, Bulgaria* 2, Burgas 2, Ruse, Pleven"),
    Region("Serbia", "RS", "Serbian", 1820, "southslavic", "Belgrade 14, Serbia* 2, Niš, Subotica, Kragujevac"),
    Region("Croatia", "HR", "Croatian", 1750, "southslavic",
           "Zagreb 8, Split 7, Rijeka 3, Dubrovnik 3, Osijek 2, Zadar, Pula, Croatia* 2, Dalmatia*"),
    Region("Bosnia", "BA", "Bosnian", 1860, "southslavic", "Sarajevo 8, Mostar 2, Bosnia* 2, Tuzla, Zenica"),
    Region("Slovenia", "SI", "Slovenian", 1780, "southslavic", "Ljubljana 4, Maribor 2, Celje, Kranj"),
    Region("Macedonia", "MK", "Macedonian", 1870, "southslavic bulgarian", "Skopje 3, Bitola 2, Ohrid"),
    Region("Montenegro", "ME", "Montenegrin", 1860, "southslavic", "Cetinje, Podgorica 2, Kotor"),
    Region("Albania", "AL", "Albanian", 1880, "albanian",
           "Tirana 3, Albania* 4, Shkodër 2, Korçë 2, Durrës, Gjirokastër"),
    Region("Greece", "GR", "Greek", 1820, "greek",
           "Athens 16, Thessaloniki 3, Greece* 4, Piraeus 3, Patras 2, Corfu 2, Crete* 2, Volos, Chania, Chios, "
           "Larissa"),
    Region("Cyprus", "CY", "Cypriot", 1880, "greek turkish", "Nicosia 3, Cyprus* 3, Limassol 2, Larnaca"),
    Region("Malta", "MT", "Maltese", 1800, "italian", "Malta* 3, Valletta 2, Sliema"),
    Region("Turkey", "TR", "Turkish", 1925, "turkish",
           "Istanbul 16, Ankara 4, Turkey* 7, Izmir 4, Bursa 2, Adana, Trabzon, Konya, Kayseri, Edirne"),
    Region("the Ottoman Empire", "TR", "Ottoman", 1800, "turkish greek armenian", "Constantinople 5, Smyrna 2"),
    Region("Russia", "RU", "Russian", 1760, "russian",
           "Moscow 26, Russia* 8, Kazan 5, Leningrad 3, Samara 2, Saratov 2, Perm 2, Omsk 2, Tomsk 2, Irkutsk, Tula, "
           "Voronezh, Smolensk, Siberia* 2, Vladivostok, Yaroslavl, Rostov"),
    Region("Ukraine", "UA", "Ukrainian", 1830, "ukrainian russian",
           "Odessa 9, Kiev 7, Kharkiv 4, Lviv 5, Ukraine* 6, Poltava 2, Dnipro, Donetsk 2, Zhytomyr, Chernivtsi, "
           "Crimea*"),
    Region("Belarus", "BY", "Belarusian", 1860, "russian polish",
           "Minsk 4, Belarus* 2, Gomel, Vitebsk 2, Brest, Grodno"),
    Region("Lithuania", "LT", "Lithuanian", 1860, "baltic", "Vilnius 4, Kaunas 3, Lithuania* 3, Klaipėda, Šiauliai"),
    Region("Latvia", "LV", "Latvian", 1800, "baltic", "Riga 10, Latvia* 2, Liepāja, Daugavpils"),
    Region("Estonia", "EE", "Estonian", 1820, "baltic finnish", "Tallinn 6, Tartu 3, Estonia* 2, Narva, Pärnu"),
    Region("Georgia", "GE", "Georgian", 1830, "georgian", "Tbilisi 5, Georgia* 3, Kutaisi 2, Batumi"),
    Region("Armenia", "AM", "Armenian", 1860, "armenian", "Yerevan 4, Armenia* 2, Gyumri"),
    Region("Azerbaijan", "AZ", "Azerbaijani", 1870, "turkish", "Baku 5, Azerbaijan*, Ganja, Shusha"),
    Region("Uzbekistan", "UZ", "Uzbek", 1900, "russian", "Tashkent 3, Samarkand 2, Bukhara"),
    Region("Kazakhstan", "KZ", "Kazakh", 1920, "russian", "Almaty 2, Kazakhstan*, Karaganda"),
    Region("Israel", "IL", "Israeli", 1925, "hebrew", "Jerusalem 8, Haifa 4, Israel* 5, Netanya, Tiberias, Safed"),
    Region("Lebanon", "LB", "Lebanese", 1850, "arabic", "Beirut 6, Lebanon* 5, Tripoli 2, Sidon, Zahle"),
    Region("Syria", "SY", "Syrian", 1870, "arabic armenian", "Damascus 4, Aleppo 3, Syria* 3, Homs, Latakia"),
    Region("Jordan", "JO", "Jordanian", 1925, "arabic", "Amman 3, Jordan*, Irbid, Zarqa"),
    Region("Iraq", "IQ", "Iraqi", 1890, "arabic", "Baghdad 8, Basra 2, Mosul 2, Iraq* 3, Kirkuk"),
    Region("Kuwait", "KW", "Kuwaiti", 1930, "arabic", "Kuwait 3"),
    Region("Bahrain", "BH", "Bahraini", 1930, "arabic", "Bahrain* 2, Manama"),
    Region("the United Arab Emirates", "AE", "Emirati", 1950, "arabic", "Dubai 2, Sharjah"),
    Region("Egypt", "EG", "Egyptian", 1850, "arabic", "Cairo 15, Alexandria 8, Egypt* 7, Luxor, Suez, Tanta, Aswan"),
    Region("Morocco", "MA", "Moroccan", 1880, "arabic french",
           "Casablanca 8, Morocco* 7, Rabat 3, Fez 2, Tangier 3, Marrakesh 2"),
    Region("Algeria", "DZ", "Algerian", 1870, "arabic french", "Algiers 7, Oran 3, Algeria* 3, Constantine 2"),
    Region("Tunisia", "TN", "Tunisian", 1880, "arabic", "Tunis 4, Tunisia* 2, Sfax 2, Sousse"),
    Region("Libya", "LY", "Libyan", 1900, "arabic", "Tripoli 2, Benghazi 2, Libya*"),
    Region("Sudan", "SD", "Sudanese", 1900, "arabic", "Khartoum 3, Sudan*, Omdurman 2"),
    Region("Iran", "IR", "Iranian", 1870, "persian",
           "Tehran 20, Iran* 11, Isfahan 4, Shiraz 4, Tabriz 3, Mashhad 2, Abadan 2, Rasht, Yazd"),
    Region("Afghanistan", "AF", "Afghan", 1900, "persian", "Kabul 4, Afghanistan* 3, Herat, Kandahar"),
    Region("India", "IN", "Indian", 1830, "indian",
           "India* 18, Mumbai 8, Calcutta 6, Kolkata 4, Chennai 4, Delhi 6, Bangalore 4, Hyderabad 4, Pune 4, "
           "Madras 4, Kerala* 4, Lucknow 2, Jaipur 2, Bihar* 2, Punjab* 2, Allahabad 2, Varanasi, Patna, Mysore 2, "
           "Goa* 3, "
           "Amritsar 2, Nagpur, Kochi, Shimla, Baroda, Assam*, Gujarat*"),
    Region("Pakistan", "PK", "Pakistani", 1948, "urdu",
           "Karachi 10, Lahore 9, Pakistan* 3, Peshawar 2, Multan, Rawalpindi 2, Quetta"),
    Region("Bangladesh", "BD", "Bangladeshi", 1935, "urdu", "Dhaka 4, Bangladesh* 2, Chittagong 2, Sylhet"),
    Region("Sri Lanka", "LK", "Sri-Lankan", 1880, "indian", "Colombo 5, Kandy 2, Galle, Jaffna 2"),
    Region("Nepal", "NP", "Nepalese", 1920, "indian", "Kathmandu 3, Nepal* 2, Pokhara"),
    Region("China", "CN", "Chinese", 1840, "chinese",
           "Shanghai 19, Beijing 11, China* 8, Nanjing 6, Guangzhou 3, Tianjin 3, Sichuan* 2, Wuhan 2, Hangzhou 2, "
           "Suzhou 2, Harbin 2, Chengdu, Qingdao, Xiamen, Shenyang, Hunan*, Fujian*"),
    Region("Taiwan", "TW", "Taiwanese", 1910, "chinese", "Taipei 4, Taiwan* 3, Tainan, Kaohsiung"),
    Region("Japan", "JP", "Japanese", 1850, "japanese",
           "Tokyo 14, Osaka 5, Kyoto 4, Yokohama 3, Japan* 4, Nagoya 2, Kobe 2, Hiroshima 2, Nagasaki 2, Sapporo, "
           "Sendai, Fukuoka 2, Niigata, Kanazawa, Okinawa*"),
    Region("South Korea", "KR", "South-Korean", 1905, "korean",
           "Seoul 6, Busan 3, Incheon, Daegu 2, Gwangju, Daejeon, Korea* 2"),
    Region("Vietnam", "VN", "Vietnamese", 1890, "vietnamese", "Hanoi 4, Saigon 3, Vietnam* 3, Hue 2, Haiphong"),
    Region("Thailand", "TH", "Thai", 1900, "chinese", "Bangkok 4, Thailand* 2"),
    Region("Malaysia", "MY", "Malaysian", 1910, "malay chinese",
           "Malaysia* 4, Penang 3, Malacca, Ipoh 2, Johor*, Borneo* 2"),
    Region("Singapore", "SG", "Singaporean", 1900, "chinese malay", "Singapore 5"),
    Region("Indonesia", "ID", "Indonesian", 1890, "malay dutch",
           "Jakarta 3, Bandung 2, Surabaya 2, Java* 3, Batavia 2, Sumatra* 2"),
    Region("the Philippines", "PH", "Filipino", 1870, "spanish", "Manila 6, Cebu 2, Iloilo, Davao"),
    Region("Nigeria", "NG", "Nigerian", 1900, "westafrican",
           "Lagos 5, Ibadan 3, Nigeria* 4, Abeokuta 2, Enugu, Kano, Benin"),
    Region("Ghana", "GH", "Ghanaian", 1900, "westafrican", "Accra 4, Ghana* 4, Kumasi 3, Tamale, Tema"),
    Region("Senegal", "SN", "Senegalese", 1900, "westafrican french", "Dakar 3, Senegal* 2, Thiès"),
    Region("Cameroon", "CM", "Cameroonian", 1930, "westafrican french", "Douala 3, Yaoundé 2, Cameroon* 2"),
    Region("Sierra Leone", "SL", "Sierra-Leonean", 1880, "westafrican", "Freetown 3"),
    Region("Kenya", "KE", "Kenyan", 1905, "eastafrican",
           "Nairobi 4, Mombasa 3, Kenya* 4, Kisumu 2, Eldoret 2, Nakuru"),
    Region("Uganda", "UG", "Ugandan", 1905, "eastafrican", "Kampala 3, Uganda* 3, Jinja, Entebbe"),
    Region("Tanzania", "TZ", "Tanzanian", 1905, "eastafrican", "Zanzibar 3, Tanzania* 2, Dodoma, Arusha, Tanga"),
    Region("Ethiopia", "ET", "Ethiopian", 1900, "ethiopian", "Ethiopia* 3, Harar 2, Gondar, Asmara"),
    Region("Zimbabwe", "ZW", "Zimbabwean", 1930, "southernafrican english",
           "Harare 2, Bulawayo 3, Zimbabwe* 2, Salisbury"),
    Region("Zambia", "ZM", "Zambian", 1930, "southernafrican", "Lusaka 2, Zambia* 2, Ndola"),
    Region("South Africa", "ZA", "South-African", 1850, "southernafrican english dutch",
           "Johannesburg 7, Durban 6, Pretoria 5, Kimberley 3, Bloemfontein 2, Grahamstown, Soweto 2, Natal* 2"),
    Region("Mauritius", "MU", "Mauritian", 1880, "indian french", "Mauritius* 3"),
    Region("Mexico", "MX", "Mexican", 1780, "spanish",
           "Mexico* 8, Guadalajara 3, Monterrey 3, Puebla 2, Veracruz 2, Oaxaca 2, Tijuana 2, Mérida, Chihuahua"),
    Region("Cuba", "CU", "Cuban", 1800, "spanish", "Havana 8, Cuba* 9, Santiago 2, Matanzas, Camagüey, Cienfuegos"),
    Region("Jamaica", "JM", "Jamaican", 1840, "english", "Kingston 7, Jamaica* 15, Mandeville"),
    Region("Trinidad", "TT", "Trinidadian", 1860, "english indian", "Trinidad* 8, Tobago*"),
    Region("Barbados", "BB", "Barbadian", 1850, "english", "Bridgetown 2, Barbados* 3"),
    Region("Guyana", "GY", "Guyanese", 1870, "english indian", "Georgetown 3, Guyana* 4, Berbice"),
    Region("Argentina", "AR", "Argentine", 1800, "spanish italian",
           "Argentina* 10, Rosario 5, Córdoba 4, Mendoza 2, Tucumán 2, Salta, Quilmes"),
    Region("Chile", "CL", "Chilean", 1800, "spanish",
           "Santiago 7, Valparaíso 3, Chile* 3, Concepción, Antofagasta, Iquique"),
    Region("Uruguay", "UY", "Uruguayan", 1830, "spanish italian", "Montevideo 5, Uruguay* 2, Salto, Paysandú"),
    Region("Peru", "PE", "Peruvian", 1750, "spanish", "Lima 7, Peru* 3, Arequipa 2, Cusco, Trujillo, Callao"),
    Region("Colombia", "CO", "Colombian", 1800, "spanish",
           "Bogotá 4, Medellín 3, Cali 2, Colombia* 3, Cartagena, Barranquilla 2"),
    Region("Venezuela", "VE", "Venezuelan", 1790, "spanish", "Caracas 6, Maracaibo 2, Venezuela* 3, Barquisimeto"),
    Region("Ecuador", "EC", "Ecuadorian", 1820, "spanish", "Quito 2, Guayaquil 2, Ecuador* 2, Cuenca"),
    Region("Brazil", "BR", "Brazilian", 1830, "portuguese",
           "Brazil* 5, Recife 2, Salvador 2, Curitiba 3, Brasília 2, Fortaleza 2, Santos 2, Manaus, Bahia* 2, "
           "Campinas"),
)

# Famous cities of two words: never an answer (answers are one word), but they stand in the way of one.
TWO_WORD_CITIES = (
    "New York", "San Francisco", "Los Angeles", "Buenos Aires", "Hong Kong", "New Orleans", "Cape Town", "Tel Aviv",
    "Mexico City", "New Haven", "The Hague", "Saint Petersburg", "São Paulo", "San Diego", "Santa Fe",
)

# Before this birth year the country is left out after the town: the state did not exist or was not called so.
QUALIFIER_FROM = {
    "Northern Ireland": 1922, "Ukraine": 1919, "Belarus": 1919, "Lithuania": 1918, "Latvia": 1918, "Estonia": 1918,
    "the Czech Republic": 1993, "Slovakia": 1919, "Poland": 1919, "Finland": 1917, "Croatia": 1919, "Slovenia": 1919,
    "Macedonia": 1945, "Bosnia": 1900, "Israel": 1948, "Lebanon": 1920, "Jordan": 1946, "South Korea": 1948,
    "Pakistan": 1948, "Bangladesh": 1972, "Sri Lanka": 1972, "Malaysia": 1963, "Indonesia": 1945, "Ghana": 1957,
    "Zimbabwe": 1980, "Zambia": 1964, "Tanzania": 1964, "South Africa": 1910, "Uzbekistan": 1924, "Germany": 1871,
    "Italy": 1861, "Belgium": 1831, "Romania": 1881, "Guyana": 1966, "Taiwan": 1946, "Iraq": 1921, "Syria": 1920,
    "Australia": 1901, "Iran": 1935, "Libya": 1934, "Armenia": 1920, "Azerbaijan": 1920, "Albania": 1912,
    "the Philippines": 1900, "Senegal": 1960, "Cameroon": 1960, "Vietnam": 1946, "the United Arab Emirates": 1971,
    "Montenegro": 1860, "Cyprus": 1915, "Uganda": 1905, "Thailand": 1939,
}

# Names of places that hold only for births in these years.
PLACE_YEARS = {
    "Constantinople": (1800, 1922), "Smyrna": (1800, 1921), "Leningrad": (1925, 1985), "Madras": (1830, 1950),
    "Calcutta": (1830, 1965), "Kolkata": (1955, 1990), "Chennai": (1955, 1990), "Mumbai": (1950, 1990),
    "Saigon": (1890, 1973), "Batavia": (1880, 1941), "Bohemia": (1700, 1915), "Harare": (1960, 1990),
    "Kazakhstan": (1930, 1990), "Oslo": (1905, 1990), "Hollywood": (1905, 1990), "Donetsk": (1930, 1990),
    "Brasília": (1960, 1990), "Soweto": (1935, 1990), "Canberra": (1920, 1990), "Darwin": (1900, 1990),
    "Dnipro": (1950, 1990), "Alberta": (1900, 1990), "Gary": (1908, 1990), "Brooklyn": (1800, 1990),
    "Israel": (1950, 1990), "Jakarta": (1945, 1990), "Budapest": (1860, 1990), "Calgary": (1895, 1990),
    "Pakistan": (1948, 1990), "Bangladesh": (1955, 1990), "Ghana": (1945, 1990), "Tanzania": (1955, 1990),
    "Zambia": (1950, 1990), "Zimbabwe": (1950, 1990), "Malaysia": (1940, 1990), "Salisbury, Zimbabwe": (1920, 1975),
}

# ---------------------------------------------------------------------------------------------- names


class Tradition(NamedTuple):
    """Real first names, and surnames composed of a head and a tail so that nobody's own name comes out."""

    weight: int  # how common the tradition is in the corpus, in thousandths
    demonyms: str  # what such a person is called when the birth place does not decide
    men: str
    women: str
    heads: str
    tails: str
    form: str = "{first} {surname}"  # how the parts are put together


TRADITIONS = {
    "english": Tradition(
        290, "English American British Canadian Australian",
        "Arthur Alfred Albert Benjamin Bernard Charles Christopher Clifford Colin Daniel David Dennis Derek Edgar "
        "Edmund Edward Ernest Francis Frank Frederick Geoffrey George Gerald Gilbert Gordon Graham Harold Harry Henry "
        "Herbert Howard Hugh James Jeremy John Jonathan Joseph Joshua Keith Kenneth Lawrence Leonard Leslie Lewis "
        "Luke Mark Martin Matthew Maurice Michael Nathaniel Nicholas Norman Oliver Oscar Percy Peter Philip Ralph "
        "Raymond Reginald Richard Robert Roger Roy Russell Samuel Sidney Simon Stanley Stephen Stuart Theodore Thomas "
        "Timothy Victor Walter Warren Wilfred William",
        "Ada Alice Amelia Amy Anne Barbara Beatrice Caroline Catherine Charlotte Clara Constance Deborah Diana "
        "Dorothy Edith Eleanor Elizabeth Ellen Emily Emma Esther Florence Frances Gillian Grace Harriet Hazel Helen "
        "Hilda Irene Jane Janet Jennifer Jessie Joan Josephine Joyce Judith Julia Karen Kathleen Laura Lilian Louisa "
        "Lucy Mabel Margaret Marion Martha Mary Maud Mildred Nora Olive Pamela Patricia Phoebe Rachel Rebecca "
        "Rosalind Ruth Sarah Sophie Stella Susan Sylvia Vera Violet Winifred",
        "Addle Bether Brack Bram Calver Chid Corb Cossing Dray Dunsel Eddle Elver Fenn Fother Garr Grim Hask Hather "
        "Hollin Ingle Jarr Kettle Kirt Laver Lumb Mardle Mosel Nun Orm Otter Pether Pick Quen Raven Rother Sall Scar "
        "Sedge Tarr Thurl Tun Ulver Varl Wadd Whin Wyther Yax Bris Clem Drom Farl Hebb Lorr Mell Nann Pell Stell Tamm "
        "Venn Wess",
        "bourne brook combe cote croft den field ford gate grove ham hurst ley low mere more ridge row shaw stead "
        "stoke thwaite ton wade ward well wick wold worth yard by er ing man ison sby stone"),
    "scottish": Tradition(
        42, "Scottish British Canadian Australian American",
        "Alasdair Alexander Andrew Angus Archibald Callum Donald Dougal Duncan Ewan Fergus Hamish Hector Iain James "
        "John Kenneth Malcolm Murdo Neil Robert Roderick Ronald Rory Ross William",
        "Agnes Aileen Catriona Effie Elspeth Fiona Flora Isla Isobel Jean Jessie Kirsty Mairi Margaret Morag Moira "
        "Rhona Senga Shona Una",
        "MacAl MacBran MacCor MacDre MacEl MacFer MacGil MacIn MacKel MacLar MacNev MacQuar MacTar MacVar Auch Bal "
        "Kil Dal Inver Strath Pit Loch Glen",
        "lour drie gorrie lennie mart nie shane tosker wattie wharrie brechie corran dallie moyle rossie tyre vennan"),
    "irish": Tradition(
        50, "Irish American British Australian",
        "Brendan Brian Cathal Ciaran Colm Conor Cormac Daniel Declan Denis Desmond Diarmuid Dominic Donal Eamon Eoin "
        "Fergal Fintan Gerard James Kevin Liam Michael Niall Patrick Ronan Rory Seamus Thomas",
        "Aisling Aoife Bernadette Bridget Ciara Deirdre Eileen Fionnuala Grainne Kathleen Mairead Maeve Nora Noreen "
        "Nuala Oonagh Orla Roisin Sheila Sinead Siobhan Teresa",
        "O'Bar O'Cre O'Dal O'Fen O'Gar O'Hal O'Kin O'Lor O'Mel O'Ral O'Ser O'Tar Mulli Gil Fenni Ganni Corri Tierni "
        "Scalli Dunni Quilli",
        "rigan nagan vaney drohan lehan mohan shilly nerney tighan gavan larkey roghan banty vissey"),
    "welsh": Tradition(
        16, "Welsh British",
        "Aled Alun Dafydd Dewi Emrys Evan Gareth Geraint Gethin Glyn Gwilym Huw Idris Ieuan Iwan Owain Rhodri Rhys "
        "Sion Trefor",
        "Angharad Bethan Bronwen Carys Cerys Delyth Eirlys Eluned Gwen Gwyneth Mair Megan Menna Myfanwy Nerys Olwen "
        "Rhian Sian",
        "Ab Bev Ced Ell Gwal Hef Llan Mad Mered Pen Pryd Tal Trev Cad",
        "arnell idwyn ellis wyth orris ydd wallon ithell dryn ogan enny aret"),
    "french": Tradition(
        72, "French Canadian Belgian Swiss",
        "Adrien Alain Alexandre Antoine Auguste Bernard Bruno Charles Claude Denis Didier Émile Étienne Eugène "
        "Fabrice François Frédéric Gaston Georges Gérard Gilles Henri Hubert Jacques Jean Jérôme Jules Laurent Léon "
        "Louis Lucien Marcel Mathieu Maurice Michel Olivier Pascal Paul Philippe Pierre Raoul Raymond René Rémi "
        "Sébastien Serge Thierry Victor Vincent Yves",
        "Adèle Agnès Aline Amélie Anne Béatrice Camille Catherine Cécile Chantal Claire Colette Denise Élise Émilie "
        "Estelle Françoise Geneviève Hélène Irène Jacqueline Jeanne Juliette Laure Louise Lucie Madeleine Marguerite "
        "Marie Martine Mathilde Monique Nathalie Odette Simone Solange Sophie Suzanne Thérèse Valérie Yvonne",
        "Aubr Barthel Beauv Berlang Bournev Brusq Cassagn Chambr Chantegr Corm Dardenn Desmar Duv Fauqu Fontr Garroch "
        "Gaudr Grandel Hauteb Lambr Larrach Mald Marquen Montr Morv Navail Pelv Perroq Rabast Roquel Sauvagn Tess "
        "Tremb Valcr Vaudr Verdel",
        "ac alet ant ard aud eau elin elle eray eret ert ette eval ier ières ignac inet iot oin ois olles on onneau "
        "oul uel y"),
    "german": Tradition(
        72, "German Austrian Swiss American",
        "Albrecht Andreas August Bernd Christian Clemens Dieter Dietrich Eberhard Ernst Felix Franz Friedrich Georg "
        "Gerhard Günther Gustav Hans Heinrich Helmut Hermann Horst Hugo Jakob Johann Jörg Jürgen Karl Klaus Konrad "
        "Kurt Lothar Ludwig Manfred Martin Matthias Max Moritz Otto Paul Ralf Reinhard Rudolf Siegfried Stefan "
        "Theodor Ulrich Uwe Walter Werner Wilhelm Wolfgang",
        "Adelheid Agathe Angelika Anna Anneliese Barbara Brigitte Charlotte Christa Dorothea Elisabeth Elke Erika Eva "
        "Frieda Gerda Gertrud Gisela Grete Hanna Hedwig Heike Helga Hildegard Ilse Ingeborg Johanna Käthe Lieselotte "
        "Lotte Margarete Marianne Martha Monika Petra Renate Rosa Sabine Ulrike Ursula Ute",
        "Aden Alten Bär Birken Brand Breiten Dorn Ehren Eichen Falken Feld Fichten Grau Grün Hagen Hasel Heiden "
        "Hirsch Holz Kalten Kirch Klein Krumm Lauter Linden Löwen Mühl Nieder Ober Raben Reuter Rosen Rot Sauer Schön "
        "Schwarz Stein Tannen Wald Weiden Wieden Wolfs",
        "acker bichler brecht dörfer eder felder gruber haupt hausen hofer huber kamp kötter leitner loher mayr mann "
        "moser pointner reiter rieder röder scheid seder stätter thaler tritt wieser zeller"),
    "italian": Tradition(
        55, "Italian American Argentine",
        "Alberto Aldo Alessandro Alfonso Andrea Angelo Antonio Bruno Carlo Cesare Claudio Corrado Dario Domenico "
        "Emilio Enrico Ettore Fabio Federico Filippo Francesco Franco Gaetano Giacomo Giorgio Giovanni Giulio "
        "Giuseppe Guido Luca Luigi Marcello Marco Mario Massimo Matteo Michele Nicola Paolo Pietro Raffaele Renato "
        "Roberto Sergio Silvio Stefano Tommaso Umberto Vincenzo Vittorio",
        "Adriana Agnese Alessandra Angela Anna Beatrice Bianca Carla Caterina Chiara Cristina Daniela Elena Eleonora "
        "Elisa Federica Francesca Gabriella Giovanna Giulia Ilaria Isabella Laura Lidia Lucia Luisa Maddalena "
        "Margherita Maria Marina Paola Rosa Silvia Teresa Valentina Vittoria",
        "Albar Bald Barb Bell Bertar Boldr Brag Calv Camp Carlev Castr Cerv Corn Fantin Farag Ferr Gald Gamb Garl "
        "Gherl Lamber Land Mald Mancus Marsil Montar Nar Ottav Pandol Per Quar Ravag Sald Scarl Tard Tras Val Verz "
        "Zamb",
        "acci adini agni aldi andri aro azzo edoni elli enghi erio eschi etti iari icchi illo inelli ini isco olfi "
        "oni onio otti ucci ulli uschi"),
    "spanish": Tradition(
        55, "Spanish Argentine Mexican Chilean Colombian Cuban American",
        "Alberto Alejandro Alfonso Álvaro Andrés Ángel Antonio Arturo Carlos César Cristóbal Diego Eduardo Emilio "
        "Enrique Esteban Felipe Fernando Francisco Gabriel Gonzalo Guillermo Hernán Ignacio Jaime Javier Joaquín "
        "Jorge José Juan Julio Leandro Luis Manuel Mariano Mario Mateo Miguel Nicolás Óscar Pablo Pedro Rafael Ramón "
        "Raúl Ricardo Roberto Rodrigo Santiago Sergio Tomás Vicente",
        "Adela Alicia Amparo Ana Ángela Beatriz Blanca Carmen Catalina Cecilia Clara Claudia Consuelo Dolores Elena "
        "Elvira Esperanza Estela Eugenia Gloria Graciela Inés Irene Isabel Josefina Juana Julia Laura Leonor Lucía "
        "Luisa Magdalena Marcela Margarita María Marta Mercedes Mónica Pilar Raquel Rosa Silvia Sofía Susana Teresa "
        "Verónica Victoria",
        "Albar Almend Ar Barr Bern Cald Carr Castell Cerr Echa Esc Fuentel Gallard Gar Goyen Ibarg Lag Lizarr Mald "
        "Mend Mont Narv Och Otar Pal Quint Rev Sald Sarm Tab Urr Val Vill Zald Zub",
        "aceda adillo aguirre aldón ameda ancho arán arena ares arte astegui azábal azo eche edilla egui endo ero ete "
        "illos oiti onda orena oso ostiza ueta uría"),
    "portuguese": Tradition(
        20, "Portuguese Brazilian",
        "Afonso Álvaro Américo António Armando Artur Caetano Carlos Duarte Fernando Francisco Gonçalo Henrique Jaime "
        "João Joaquim José Júlio Luís Manuel Marcos Mário Miguel Nuno Paulo Pedro Rui Sérgio Tiago Vasco",
        "Adelaide Ana Aurora Beatriz Catarina Cecília Clarice Conceição Fernanda Filipa Graça Helena Inês Isabel "
        "Joana Leonor Lúcia Luísa Madalena Margarida Maria Mariana Raquel Rosa Sofia Teresa",
        "Alb Alvar Bar Brag Cald Carv Cerq Fal Figu Gouv Lage Lour Magal Mesq Mort Nav Pac Per Queir Rab Sald Sarm "
        "Teix Vas",
        "alho aneda antes ão ares arinho eda eiral eirinha elo enço endas inha inho oal oso ueiral ujo"),
    "dutch": Tradition(
        28, "Dutch Belgian South-African American",
        "Adriaan Albert Anton Arie Bart Bas Cornelis Dirk Evert Frans Geert Gerrit Hendrik Herman Jaap Jacob Jan "
        "Jeroen Joost Joris Kees Klaas Lambert Maarten Niels Pieter Ruud Sjoerd Theo Wietse Willem Wim Wouter",
        "Aafke Annelies Anneke Betje Carolien Cornelia Elsje Femke Geertje Grietje Hendrika Ineke Jacoba Jannie "
        "Johanna Lotte Maaike Margriet Marijke Marleen Mieke Neeltje Saskia Tineke Trijntje Wilhelmina",
        "Achter Beek Berken Blaauw Boer Brand Broek Dijk Eik Elzen Groen Haver Heer Hoog Kalk Kloos Korte Kuip Lange "
        "Meer Molen Noord Ooster Popel Riet Roode Schaap Sluis Stoop Terp Veen Wester Wijn Zand",
        "aards beek berg bos broek buis daal donk hof horst huis kamp kerk laar man meer mulder sma sloot stra veld "
        "waard wijk zoon"),
    "swedish": Tradition(
        22, "Swedish Finnish American",
        "Anders Arvid Axel Bengt Bertil Björn Carl Einar Emil Erik Folke Fredrik Göran Gösta Gunnar Gustaf Håkan "
        "Hjalmar Ivar Jonas Karl Lars Lennart Magnus Mats Nils Olof Oskar Per Rolf Sixten Sten Sven Torsten Ulf",
        "Agneta Anna Astrid Barbro Birgitta Brita Charlotta Ebba Elin Elsa Ester Eva Gerda Greta Gudrun Gunilla "
        "Hedvig Ingrid Karin Kerstin Kristina Lena Linnea Maj Margareta Märta Sigrid Siv Solveig Ulla",
        "Alm Asp Berg Björk Blom Bräck Dahl Ek Engel Fager Forn Gran Hall Hed Holm Kling Kron Lejon Lilje Lund Mal "
        "Nor Ost Qvist Ros Sand Sjö Skog Stål Ström Sund Söder Thor Val Väst Åker",
        "bäck blad bladh born dal ehn fält fors gren grip hage hammar hed hjelm klint löv mark näs qvarn rot sköld "
        "stam strand stedt tjärn vall vik"),
    "danish": Tradition(
        34, "Danish Norwegian American",
        "Aage Aksel Anders Arne Asbjørn Bent Bjarne Carl Christian Egil Einar Erik Finn Frode Gunnar Halvard Hans "
        "Harald Henrik Håkon Ivar Jens Johannes Jørgen Kåre Knud Kristian Lars Leif Magne Mads Niels Odd Ole Olav Per "
        "Poul Rasmus Sigurd Svend Søren Thorvald Torstein Trond Viggo",
        "Aase Agnete Anne Astrid Berit Birgit Bodil Ellen Else Gerd Grete Gudrun Hanne Hilde Inger Ingrid Jytte Karen "
        "Kari Kirsten Kjersti Laila Lise Liv Marit Merete Mette Randi Ragnhild Signe Sigrid Solveig Tove Turid Unni",
        "Aas Bakke Berg Birke Brei Bræn Dals Eide Elle Fager Fjeld Fosse Grøn Hauge Hegge Helle Hol Hvid Kirke Klev "
        "Kvam Langs Lille Lyng Myr Nord Nøkle Rave Rød Sande Skaar Skov Stor Sund Søn Tange Tveit Vester Øster",
        "aas bakk berg bjerg bo by dal felt gaard haug hede heim holdt holm høj land li lund løkke mo moen nes rud "
        "rup set skog stad strup sund tvedt vang vik"),
    "finnish": Tradition(
        12, "Finnish",
        "Aarne Aleksi Antti Arto Eero Eino Esko Hannu Heikki Ilkka Jaakko Jari Juhani Jukka Kalle Kari Lauri Markku "
        "Matti Mikko Onni Paavo Pekka Pentti Risto Seppo Tapio Timo Toivo Väinö Yrjö",
        "Aino Anja Anneli Eeva Eila Elina Helmi Helvi Hilkka Irma Kaarina Kaisa Leena Liisa Maija Marja Marjatta "
        "Päivi Pirkko Raili Riitta Saara Sirkka Tuula Tyyne",
        "Ala Haapa Halla Harju Hiita Kallio Kangas Karhu Kesä Kivi Korpi Koski Kuusi Lehti Lampi Mänty Metsä Niemi "
        "Ojan Peltola Pihla Pohja Rauta Salmi Suvi Tervo Vaara Vesi",
        "harju joki kari kero koski kumpu lahti linna maa mäki niemi nen oja palo perä ranta ruoho salo suo tie "
        "vuori"),
    "polish": Tradition(
        30, "Polish American",
        "Adam Andrzej Antoni Bogdan Bolesław Czesław Edmund Feliks Franciszek Henryk Ignacy Jacek Jan Janusz Jerzy "
        "Józef Kazimierz Konrad Krzysztof Leon Leszek Maciej Marek Mateusz Michał Paweł Piotr Ryszard Stanisław "
        "Stefan Tadeusz Tomasz Wacław Wiktor Wincenty Władysław Wojciech Zbigniew Zygmunt",
        "Agnieszka Aleksandra Alicja Anna Barbara Bożena Danuta Dorota Elżbieta Ewa Grażyna Halina Hanna Helena Irena "
        "Jadwiga Janina Joanna Katarzyna Krystyna Magdalena Maria Marta Renata Stefania Teresa Wanda Zofia",
        "Bal Barto Bełd Bor Brzoz Chmiel Czar Dąb Dłu Drze Gra Grzy Jag Jałow Kalin Kar Koz Kru Lip Łag Mak Mier Nied "
        "Ol Ostr Pasz Ple Rad Ro Sad Sier Sos Stru Szcz Tar Wierz Wil Wor Zar Żel",
        "ankiewicz awczyk ecki eniak erski ewicz icki iński kiewicz kowiak kulski laczyk nacki niewski ołek orczyk "
        "owicki oszek szyński uchowski ulik ycki"),
    "czech": Tradition(
        18, "Czech Slovak Austrian",
        "Alois Antonín Bohumil Břetislav Dušan Emil František Ivan Jan Jaromír Jaroslav Jindřich Jiří Josef Karel "
        "Ladislav Libor Lubomír Luboš Marek Martin Michal Milan Miroslav Oldřich Otakar Pavel Petr Rudolf Stanislav "
        "Štefan Tomáš Václav Vladimír Vojtěch Zdeněk",
        "Alena Anna Blanka Božena Dagmar Dana Eliška Eva Hana Helena Irena Ivana Jana Jarmila Jitka Kateřina Květa "
        "Lenka Ludmila Marie Marta Milada Olga Pavla Růžena Šárka Věra Zdenka Zuzana",
        "Bar Bed Bla Bor Bře Cho Dol Dra Had Hlav Hol Hru Jed Kal Kop Kra Kub Lis Mal Ned Ond Pel Pol Rou Sed Skál "
        "Slá Šim Tom Vav Vod Zá Žď",
        "ánek ašek atka avec ecký ejda enský erka ička ílek ínek íšek nický oušek rčál tlík uchta učík unda urek "
        "ýšek"),
    "hungarian": Tradition(
        22, "Hungarian American",
        "Ádám András Antal Attila Balázs Béla Bertalan Csaba Dezső Elemér Endre Ernő Ferenc Gábor Géza György Gyula "
        "Imre István János Jenő József Kálmán Károly László Lajos Lóránt Márton Mihály Miklós Ottó Pál Péter Sándor "
        "Tamás Tibor Vilmos Zoltán Zsigmond",
        "Ágnes Anikó Anna Borbála Edit Emese Erzsébet Etelka Éva Gabriella Gizella Ilona Irén Judit Júlia Katalin "
        "Klára Magda Margit Mária Márta Piroska Réka Rózsa Sára Teréz Vera Zsófia Zsuzsanna",
        "Al Bak Bar Ber Bod Csan Deme Do Far Gal Gyar Hal Hor Ján Ker Kis Kom Lak Mar Méh Nád Ol Pap Pén Rév Sár Som "
        "Szal Szent Tar Tor Ván Vég Zom Zsá",
        "ándi árki csányi dányi falvi gárdi hegyi házi keszi kövi lódi lossy mányi ódy okfi pásztói rédi szegi táni "
        "tényi vári völgyi"),
    "russian": Tradition(
        28, "Russian Soviet American",
        "Aleksandr Alexei Anatoly Andrei Arkady Boris Dmitri Evgeny Fyodor Gennady Georgy Gleb Grigory Igor Ilya Ivan "
        "Konstantin Leonid Lev Maxim Mikhail Nikita Nikolai Oleg Pavel Pyotr Roman Semyon Sergei Stepan Valentin "
        "Valery Vasily Viktor Vladimir Vyacheslav Yuri",
        "Alla Anastasia Anna Antonina Daria Ekaterina Elena Galina Irina Klavdia Ksenia Larisa Lidia Lyubov Lyudmila "
        "Maria Marina Nadezhda Natalia Nina Oksana Olga Polina Raisa Sofia Svetlana Tamara Tatiana Valentina Vera "
        "Yulia Zinaida",
        "Agar Bakh Ber Bolk Chern Dem Dob Dolg Fad Gal Glad Gor Gus Kal Kash Kol Kor Kras Lad Lukash Mal Mel Mor Ob "
        "Ostr Pav Pod Rad Rod Sab Shel Stolb Tar Tver Ud Vere Vor Zav Zhel",
        "akov anin atov chikov echin edov enkov eshin etsov ezhin idov inskikh itsyn lyagin nakov nikhin ochkin "
        "ogatov oleshin opyatov orin ushin ushkov utkin yanov"),
    "ukrainian": Tradition(
        11, "Ukrainian Canadian Russian",
        "Andriy Bohdan Borys Danylo Dmytro Hryhoriy Ihor Ivan Kyrylo Levko Mykhailo Mykola Mykyta Oleh Oleksandr "
        "Ostap Pavlo Petro Roman Serhiy Stepan Taras Vasyl Viktor Volodymyr Yaroslav Yevhen Yuriy",
        "Halyna Hanna Iryna Kateryna Lesia Liudmyla Marusia Mariya Myroslava Nadia Natalya Oksana Olena Olha Solomiya "
        "Svitlana Tetyana Vira Yaryna Zoya",
        "Bar Bily Bon Cher Do Drozd Halu Hon Hor Kacha Kli Kolo Kor Kry Lys Mar Myr Naly Ova Pan Prok Ruden Shev Sko "
        "Sydor Tka Tym Vas Vol Zaba Zin",
        "benko bchuk chak dchenko hniuk horak ivchuk kalo khno lenyk matsky noha rchuk renyuk shenko skyi strov tsiuk "
        "vhan"),
    "southslavic": Tradition(
        28, "Serbian Croatian Slovenian Bosnian Yugoslav",
        "Aleksandar Ante Bogdan Boris Bože Branko Dalibor Damir Dejan Dragan Dušan Goran Igor Ivan Ivo Janez Josip "
        "Jovan Luka Marko Mato Milan Miloš Miodrag Mirko Nenad Nikola Petar Predrag Rade Slavko Slobodan Srđan Stevan "
        "Stjepan Tomislav Vladan Vuk Zlatko Zoran Željko",
        "Ana Anđela Biljana Bojana Branka Dragana Dubravka Gordana Ivana Jasna Jelena Jovana Ljiljana Ljubica Maja "
        "Marija Mira Milena Nada Nataša Olga Radmila Ružica Sanja Slavica Snežana Tamara Vesna Vera Zorica Željka",
        "Bab Bar Bog Bož Bra Bul Čol Dav Do Drag Gla Gra Hadži Jab Jag Kal Kne Kos Kra Laz Lju Mar Mil Mla Neš Obr "
        "Pej Pet Rad Sim Sta Sto Tad Trn Vel Vuč Zag Živ",
        "anović arić avac ečić edić ejić eković elić ešević etić ibratić ičević inčić inić jarac koš njak odarić "
        "ojčić onjić orac ovšek ulović unović uš"),
    "bulgarian": Tradition(
        12, "Bulgarian",
        "Angel Asen Boyan Boris Dimitar Emil Georgi Hristo Ivaylo Kiril Krasimir Lyuben Lyubomir Nedyalko Ognyan "
        "Pencho Petko Plamen Rumen Simeon Stefan Stoyan Todor Tsvetan Vasil Veselin Yordan Zahari",
        "Albena Anelia Boyka Daniela Desislava Diana Elisaveta Ekaterina Gergana Ivanka Kalina Lyudmila Maria "
        "Nadezhda Nevena Rositsa Stefka Svetla Tsvetana Vanya Vesela Yana",
        "Ban Bel Bob Chol Dam Dim Gen Gos Gradi Hadzhi Kal Kol Kov Lah Mar Min Nen Pan Pey Rad Shish Sla Stoy Tar Ton "
        "Val Vel Yan",
        "achev anchev arov ashki avelov chinov chovski dalov gerov ikov insky kerov kushev lekov menov orov palov "
        "shanov tarov tilov vachev"),
    "romanian": Tradition(
        13, "Romanian American",
        "Adrian Alexandru Andrei Aurel Bogdan Călin Constantin Corneliu Costin Cristian Dan Doru Dumitru Emil Eugen "
        "Florin Gheorghe Grigore Horia Ilie Ion Liviu Lucian Marin Mihai Mircea Nicolae Octavian Ovidiu Petre Radu "
        "Sorin Ștefan Teodor Traian Valeriu Vasile",
        "Adela Alina Ana Anca Aurelia Carmen Corina Cristina Daniela Doina Elena Eugenia Florica Gabriela Ileana "
        "Ioana Irina Lavinia Lucia Magda Margareta Maria Mihaela Monica Otilia Raluca Rodica Silvia Simona Sanda "
        "Viorica",
        "Al Băl Băr Bob Brăd Buc Căl Cer Chiri Co Cră Dob Du Făg Gâr Gră Lă Lup Mă Mar Mol Neg Olt Păd Pet Ră Săl Sto "
        "Tur Văl Vlă",
        "areanu ășescu ceanu dărescu enaru erghel ărianu icescu ilă inoiu lăianu meșan nărescu niceanu rănescu șoiu "
        "stiuc șanu tăreanu toiu ureanu"),
    "greek": Tradition(
        18, "Greek Cypriot American Australian",
        "Alexandros Anastasios Andreas Angelos Antonis Apostolos Charalambos Christos Dimitris Evangelos Fotis "
        "Georgios Giannis Ilias Ioannis Konstantinos Kostas Leonidas Lefteris Manolis Michalis Nikolaos Nikos "
        "Panagiotis Pavlos Petros Sotiris Spyros Stavros Stelios Thanos Theodoros Vassilis",
        "Alexandra Angeliki Anna Despina Dimitra Eftychia Eleni Evangelia Fotini Georgia Ioanna Irini Kalliopi "
        "Katerina Konstantina Maria Marina Melina Nana Olga Panagiota Sofia Stella Theodora Vasiliki Xenia Zoi",
        "Alex Anagn Arg Dalar Dem Drak Fot Gal Kala Kall Kara Kat Kefal Kon Kour Laza Lyr Man Mav Mel Mour Nik Pala "
        "Papa Pet Sari Skar Stam Tzan Vas Vent Xan Zaf Zer",
        "bakis dellis derakis dimas gakis garis glou kalis keridis kopoulos lakis logiannis makis matos niotis "
        "poulakis rakidis roulis sakos santis thakis touris vanos vellas zoglou"),
    "turkish": Tradition(
        15, "Turkish Turkish German",
        "Ahmet Ali Arda Aydın Bülent Burak Cem Cengiz Emre Enver Erdal Erol Fikret Gökhan Hakan Halil Haluk Hasan "
        "Hüseyin İbrahim İlhan Kemal Kenan Levent Mahmut Mehmet Metin Murat Mustafa Nuri Okan Osman Ömer Orhan Rıza "
        "Selim Serkan Sinan Süleyman Tarık Turgut Ümit Yusuf",
        "Ayla Aylin Ayşe Belgin Berna Canan Defne Ebru Elif Emine Esra Fatma Filiz Gül Gülsen Hale Hülya İpek Leyla "
        "Melek Meral Müge Nalan Nazlı Nermin Nur Pınar Selma Semra Sevim Sibel Zehra Zeynep",
        "Ak Alp Arı Bal Bay Boz Can Çak Dağ De Deniz Er Gök Gül Gün İnce Kan Kar Kılıç Koç Köse Öz Sağ Sarı Son Tan "
        "Taş Tek Top Tür Uz Yal Yeş Yıl",
        "akoğlu alan aras ataş baran baş budak caner dağlı demiral der duran gezen göçer güney işler kaner kaya kurt "
        "maner oğlan paslı seven soyer taşçı tekin türer yürek"),
    "arabic": Tradition(
        30, "Egyptian Lebanese Moroccan Syrian Iraqi French American",
        "Abbas Abdallah Abdel Adel Ahmed Ali Amin Anwar Bashir Bilal Fadi Farid Faisal Fouad Ghassan Habib Hamid "
        "Hassan Hisham Hussein Ibrahim Jamal Kamal Karim Khaled Mahmoud Majid Marwan Mohamed Mounir Mustafa Nabil "
        "Nasser Omar Rachid Ramzi Said Salim Samir Tarek Walid Yasser Yousef Ziad",
        "Aicha Amal Amina Asma Dalal Dina Fadwa Farida Fatima Ghada Hala Hanan Hind Huda Iman Khadija Layla Lubna "
        "Maha Malika Mariam Mona Nadia Najwa Nawal Nour Rania Rima Salma Samira Sawsan Souad Suha Widad Yasmin Zahra "
        "Zeinab",
        "al-Ban al-Dar al-Fah al-Ghan al-Has al-Jab al-Kha al-Mah al-Naw al-Qas al-Rah al-Sab al-Tar al-Zah Ben Bou "
        "El Bar Dar Far Ghaz Had Kha Mas Naj Qar Ras Sab Taw Zar",
        "bouli dani darri fouri ghali hadi hmani jarri kaoui khouli lami louti maddi moudi nadri qani rawi roubi "
        "saadi ssani tibi wadi ziri zouni"),
    "persian": Tradition(
        14, "Iranian American British",
        "Abbas Ali Amir Arash Ardeshir Babak Bahman Behrouz Bijan Cyrus Dariush Ehsan Farhad Fereydoun Hamid Hossein "
        "Iraj Jahangir Kamran Kaveh Keyvan Khosrow Manouchehr Mehdi Mehran Mohsen Nader Parviz Reza Saeed Shahin "
        "Shahram Siavash Sohrab",
        "Afsaneh Anahita Azar Bahar Fariba Farzaneh Forough Golnar Homa Jaleh Laleh Leila Mahin Mahnaz Manijeh Marjan "
        "Maryam Mina Mitra Nasrin Niloufar Parvin Roya Sepideh Shahla Shirin Simin Soraya Susan Zohreh",
        "Afsh Ard Bahr Bakht Dast Dehg Farah Farz Ghor Golest Hash Javan Kam Keyh Khor Lahij Mahd Mehr Mor Nour Pak "
        "Parv Rast Roust Sahr Shab Sohr Taher Yazd Zand",
        "abi adi agani aghi ahani alizadeh andari anizadeh anpour ardeh arvand avari ayesh barzin dousti emi eshi "
        "estani iani ifar inejad ipour iyan khah nia ouri"),
    "hebrew": Tradition(
        14, "Israeli American",
        "Aharon Amnon Amos Ariel Asher Avner Avraham Baruch Chaim Dan David Doron Efraim Eitan Eli Ezra Gad Gershon "
        "Gideon Haim Ilan Isaac Israel Jacob Joshua Meir Menachem Mordechai Moshe Nathan Oded Rafael Reuven Ron "
        "Shimon Shlomo Uri Yaakov Yehuda Yigal Yosef Zvi",
        "Adina Avital Batya Chana Dalia Devorah Dina Edna Esther Galia Hadassah Ilana Leah Michal Miriam Naomi "
        "Nechama Nira Noa Orna Rachel Rivka Ronit Ruth Sarah Shoshana Shulamit Tamar Tova Yael Yehudit Zipora",
        "Abra Alt Aron Bar Ben Birn Brod Czern Edel Eisen Fein Feld Gal Gins Glick Gold Green Hal Horo Kap Katz Kirsh "
        "Lan Lev Lip Margo Ner Pel Perl Rab Ravi Rosh Shap Shim Silber Tal Weis Yar Zal Zuck",
        "baum berger blatt blum dorf farb fein gold hauer kind klein lach lowitz mandel nick rowsky sky stam stock "
        "traub tov vitzky wasser wirth zohn"),
    "armenian": Tradition(
        9, "Armenian American Soviet",
        "Aram Ara Armen Arshak Artur Ashot Avetik Garegin Gevorg Grigor Hagop Hakob Hayk Hovhannes Hrant Karen Krikor "
        "Levon Mesrop Mher Mihran Ruben Samvel Sarkis Stepan Tigran Vahan Vahe Vardan Vartan Yervand Zaven",
        "Alis Anahit Ani Anoush Arpine Astghik Gayane Hasmik Hripsime Karine Lilit Lusine Mariam Marine Nairi Nvard "
        "Satenik Seda Siranush Sirvard Sona Takuhi Tamar Zabel Zaruhi",
        "Abov Agh Amir Arz Avak Balas Berb Dal Der Djan Gab Gar Ghaz Hov Kal Kes Khatch Mal Man Mel Naz Pap Sah Sim "
        "Tash Ter Tum Vart Yegh Zor",
        "abian adjian akian alousian amian anossian apetian arjian atourian azarian edikian ekian elikian ezian "
        "idjian ikian oudian ourian oyan ugian umian"),
    "georgian": Tradition(
        7, "Georgian Soviet",
        "Akaki Aleksandre Archil Avtandil Besarion Davit Gela Giorgi Gocha Ilia Irakli Jemal Kakha Ketevan Koba Lasha "
        "Levan Mamuka Merab Nikoloz Nodar Otar Rezo Sandro Shota Soso Temur Vakhtang Vano Zaza Zurab",
        "Ana Eka Eteri Gvantsa Irma Ketevan Khatia Lali Lamara Lia Maia Manana Mzia Nana Natela Nino Nutsa Rusudan "
        "Salome Sopio Tamar Tea Tinatin Veriko",
        "Abash Ber Bur Chik Dar Dzag Gab Gel Gog Jav Kap Kav Khar Kob Lom Mach Meg Nad Okr Pap Rob Shar Tab Tsik Tur "
        "Vash Zarn",
        "adashvili aladze anidze arashvili atadze avadze elashvili eliani enidze eradze etadze iashvili idauri ikadze "
        "ilava inashvili ishvili oladze oshvili ulava urishvili"),
    "baltic": Tradition(
        10, "Latvian Lithuanian Estonian American",
        "Aivars Andris Arvydas Edgars Egils Gints Guntis Imants Indrek Ivars Jaan Jānis Jonas Juhan Juris Kārlis "
        "Kęstutis Leonas Mart Mindaugas Modris Peeter Rein Rimas Saulius Tiit Tõnu Uldis Valdis Vilnis Vytas Zigmas",
        "Aina Aldona Anu Asta Baiba Birutė Daiva Dzintra Epp Ieva Ilze Ingrīda Kadri Laima Liis Līga Maie Mare Nijolė "
        "Olita Ona Rasa Ruta Sarma Silvi Tiiu Vaira Vilija Zane",
        "Alks Aug Baltr Balt Bal Bērz Dar Gail Grin Jans Kal Kals Kaz Kriv Laur Liep Mad Mel Oz Paul Peter Raud Roz "
        "Saul Skuj Stank Tamm Urb Vait Zar Žem",
        "aitis alnieks ars askas auskas ekas elis enieks erns evičius iks inis ītis juhan kalns mets ovskis pere saar "
        "soo tauskas tnieks udis ulis unas vald"),
    "albanian": Tradition(
        8, "Albanian Kosovar Italian",
        "Agim Agron Alban Arben Ardian Arian Artan Avni Besnik Bujar Dritan Edmond Enver Fatmir Faik Gjergj Gëzim "
        "Ilir Jeton Kastriot Luan Naim Petrit Sali Shkëlqim Skënder Sokol Spiro Thoma Vangjel Ylber Zef",
        "Adelina Afërdita Albana Arta Besa Blerta Drita Elda Elira Ermira Fatmire Flutura Lindita Luljeta Majlinda "
        "Mimoza Mirela Rozafa Shpresa Teuta Vjollca Yllka",
        "Bal Bar Beq Ber Bush Ça Dem Dod Gji Gol Ha Ibr Kal Ko Kry Lam Leka Mal Me Nel Pal Pre Qi Sha Shk Tol Tra Var "
        "Xha Zen Zog",
        "bashi daj dhini draj farri garri hani jolli kolli lani lliu luzi mbari naj ndoi nushi qeri reshi ri shani "
        "tasi vaku xhiu"),
    "indian": Tradition(
        32, "Indian British American Sri-Lankan",
        "Abhijit Ajay Amit Anand Anil Arjun Ashok Balraj Bhaskar Chandra Deepak Dev Dinesh Ganesh Girish Gopal Govind "
        "Harish Jagdish Kamal Kishore Krishna Lakshman Madhav Mahesh Manoj Mohan Mukund Naresh Narayan Nikhil Prakash "
        "Prem Rajesh Raman Ravi Sanjay Satish Shankar Subhash Sunil Suresh Uday Vijay Vinod Vishnu",
        "Aditi Amrita Anita Anjali Aparna Asha Bhavani Chitra Damayanti Deepa Gayatri Geeta Indira Jaya Kalpana "
        "Kamala Kavita Lakshmi Lalita Leela Madhuri Mala Meena Nalini Nirmala Padma Prema Radha Rekha Rukmini Sarita "
        "Savitri Shanta Sharmila Sudha Sujata Sunita Uma Usha Vasanta",
        "Ach Agn Amb Bad Bhan Bhat Chand Char Dab Desh Dhar Gad Gan Har Jag Jos Kal Kamb Khan Kul Lakh Mad Mahal Maj "
        "Man Muk Nad Nag Pad Pal Panch Rag Raj Sab Sahas Sar Shan Sub Tand Thak Vaid Ved Wad",
        "akar alkar ambi anath aneja anwar appa arajan arwal asami athan avadi avale avkar ekar endran enoy eshan "
        "ethia idasan ikar ilkar ingham iyappan olkar opadhyay oria otra udkar umdar upati uswamy"),
    "urdu": Tradition(
        14, "Pakistani Bangladeshi British",
        "Abdul Akbar Arif Asif Aziz Faisal Ghulam Habib Hamid Imran Iqbal Irfan Jahangir Javed Kamal Kashif Khalid "
        "Mahbub Majid Mansoor Masud Munir Nadeem Nasir Qasim Rafiq Rashid Sajid Salman Shafiq Shahid Tahir Tariq "
        "Usman Waqar Wasim Zafar Zahid",
        "Abida Aisha Ayesha Bushra Farzana Fauzia Fehmida Hamida Humera Kishwar Mahnaz Mumtaz Nasreen Nazia Nighat "
        "Nusrat Parveen Rashida Razia Rubina Saima Sultana Tahira Uzma Yasmeen Zehra",
        "Afr Baj Bal Bhat Char Dar Dur Far Gil Gor Hash Jal Kam Khar Lash Lod Mal Mir Niaz Noor Qaz Rah Raz Sab Sid "
        "Sum Tal Tar Yaq Zub",
        "abdar afzai agani ahiwala alpuri amdar anvi aqani asvi awani bakhsh dawala erzai ghani hazai imabadi kandi "
        "khail mandi nizai owal pasha qani ranvi shani"),
    "chinese": Tradition(
        20, "Chinese Taiwanese American Singaporean",
        "Baoguo Bingde Bojun Changming Chunlai Dawei Dezhong Fengchun Guangrui Guoliang Haoran Hongwei Jianfu Jingyao "
        "Junfeng Kaiwen Lianhe Liqun Mingde Peifu Qingshan Renjie Ruilin Shaoyuan Shixiong Songtao Tianxi Weiguo "
        "Wenbin Xiaochuan Xingguo Yaozu Yongnian Yuanpei Zehua Zhengyi Zhihao Zongren",
        "Aihua Baozhen Caixia Chunyan Fenglan Guilan Hailing Huifang Jiaying Jinghua Lanfen Lihua Meizhen Minghui "
        "Peiyu Qiaoyun Ruoxi Shuzhen Suqin Wanqing Xiuying Xuemei Yalan Yueqin Yunxia Zhilan",
        "Bian Cen Chai Chu Dang Dou Fei Gan Ge Gong Guan Hai Hua Ji Jiao Kang Kuai Lan Lei Lian Lou Mei Miao Min Ning "
        "Ou Pang Pei Qi Qiu Ran Rong Sha Shu Tai Tan Tong Wan Wei Weng Xi Xiang Xin Yan Yin You Zang Zhai Zhuo Zuo",
        "",
        "{surname} {first}"),
    "japanese": Tradition(
        15, "Japanese American",
        "Akio Daisuke Eiji Fumio Genzo Haruki Hideo Hiroshi Ichiro Isamu Jiro Jun Kazuo Keiji Kenta Kiyoshi Koji "
        "Makoto Masao Minoru Naoki Noboru Osamu Ryo Saburo Satoshi Shigeru Shinji Shoji Susumu Tadashi Takeshi Tetsuo "
        "Toru Tsutomu Yasuo Yoshiro Yukio",
        "Aiko Akemi Asako Atsuko Chie Chiyoko Emi Eriko Fumiko Hanako Haruka Hisako Izumi Junko Kaori Kazuko Keiko "
        "Kimiko Kumiko Mariko Masako Michiko Miyuki Naoko Noriko Reiko Sachiko Sumiko Tomoko Yasuko Yoko Yumi",
        "Aka Ama Asa Chiga Fuka Funa Hana Haya Hira Hoso Ichi Ina Ino Kane Kashi Kawa Kita Koma Kuma Kura Maki Masu "
        "Mina Momo Mura Naka Nishi Numa Oka Sai Saka Saru Shima Shio Sugi Tachi Taka Tani Toku Tsuka Uchi Ume Wata "
        "Yana Yone",
        "bayama bori buchi chika gawara gishi hata hizawa kabe kaido kamine kata kishi kubo kuni maki matsu mizo mori "
        "nabe nobori numata saku sato shige shiro sumi tomi tsubo yuchi zaki zumi"),
    "korean": Tradition(
        9, "South-Korean American",
        "Byung-ho Chang-soo Chul-min Dae-jung Dong-hyun Gi-tae Hae-won Hyun-woo In-seok Jae-kyu Ji-hoon Jin-ho "
        "Jong-il Joon-young Ki-young Kwang-sik Kyung-mo Min-jae Moo-song Sang-ho Seok-jin Seung-min Sung-jin Tae-yong "
        "Won-kyu Yong-su Young-chul",
        "Bo-ram Eun-hye Eun-jung Ha-neul Hye-jin Hyun-jung Ji-eun Ji-won Kyung-hee Mi-kyung Mi-rae Myung-sook "
        "Na-young Seo-yeon Soo-jin Sun-hee Yeon-ju Young-ae Yoo-mi Yu-na",
        "Ban Bong Do Eom Geum Gil Gong Hyeon Je Jwa Mae Maeng Mo Myeong Nang Ok Pyo Seol So Tak Um Yeo Yong", "",
        "{surname} {first}"),
    "vietnamese": Tradition(
        8, "Vietnamese French American",
        "Bao Binh Cuong Dung Duy Hai Hieu Hoa Hung Khanh Khoa Kien Long Minh Nam Nghia Phong Phuc Quan Quang Son Tai "
        "Thanh Thien Trung Tuan Viet Vinh",
        "Anh Bich Chau Diep Dung Ha Hanh Hien Hong Huong Lan Lien Linh Mai My Nga Ngoc Nhung Phuong Quynh Thao Thu "
        "Thuy Trang Tuyet Van Xuan Yen",
        "Bach Cung Cu Diem Doan Giap Kha Khuat Khuong La Lieu Lo Luc Mac Nghiem Nhan On Phi Quach Sam Tang Thach Thai "
        "Tieu Trieu Uong Vi", "", "{surname} {middle} {first}"),
    "malay": Tradition(
        9, "Malaysian Indonesian Singaporean",
        "Adi Agus Ahmad Amir Azlan Bambang Budi Dedi Eko Fauzi Hafiz Hamzah Hendra Iskandar Ismail Joko Kamarul "
        "Rahmat Ridwan Rizal Salleh Slamet Suharto Surya Tarmizi Teguh Wahyu Yusof Zainal Zulkifli",
        "Aminah Ayu Azizah Dewi Endang Fatimah Halimah Indah Kartika Lestari Maimunah Melati Nirmala Noraini Nurul "
        "Puspa Ratna Rohana Rosnah Sari Siti Sri Wati Yanti Zaharah Zaiton",
        "Abd Adi Bagas Darm Djat Gun Har Hid Kart Kus Mar Nas Pan Pra Purn Rahm San Ses Soe Suk Sur Sus Tir Wib Wir "
        "Yud",
        "adinata agoro ahardjo akusuma alaga amihardja anegara antara aryono asmara awidjaya iadi ibrata ikromo "
        "imanto inoto iputra iwangsa ojoyo oningrat osudiro owirjo"),
    "westafrican": Tradition(
        17, "Nigerian Ghanaian Senegalese British French",
        "Abiodun Adebayo Adewale Akwasi Amadou Ayodele Babajide Babatunde Chidi Chinedu Chukwudi Cheikh Emeka Femi "
        "Ibrahima Ifeanyi Kofi Kojo Kwabena Kwaku Kwame Lanre Mamadou Moussa Nnamdi Obi Okechukwu Olusegun Ousmane "
        "Sekou Segun Tunde Yakubu Yaw",
        "Abena Adaeze Adwoa Afia Akosua Ama Aminata Awa Bolanle Chioma Efua Esi Fatou Folake Funmilayo Ifeoma Khady "
        "Mariama Ngozi Nkechi Oumou Rokhaya Sade Temitope Titilayo Yaa Yetunde Yewande",
        "Ade Afo Aga Aki Ama Ani Asa Ayo Bado Boa Chi Dia Eke Fasa Gye Ife Kone Kuma Lawa Mba Nke Oba Odu Oga Ojo Oko "
        "Ola Olu Ono Opo Owu Quan Saka Tano Uche Uzo",
        "banjo biyan boateng dare dele dimeji dofo goke gunle jimi kanna kole kunbi kwe lade lanke manu meka mensah "
        "ngola nitsha nkem nsah rinde sanmi sare siedu sola tade tayo tuga wale yinka"),
    "eastafrican": Tradition(
        12, "Kenyan Ugandan Tanzanian British",
        "Abdi Baraka Barasa Daniel David Elijah Hamisi Isaac James John Joseph Juma Kamau Kibet Kipchumba Kiprono "
        "Moses Musa Mwangi Njoroge Ochieng Odhiambo Okello Omari Otieno Patrick Paul Peter Rashidi Salim Samuel Simon "
        "Wafula",
        "Achieng Akinyi Amani Asha Atieno Chebet Esther Eunice Faith Grace Halima Jane Jepkosgei Joyce Lydia Makena "
        "Mary Mercy Nakato Neema Njeri Pendo Rehema Ruth Salome Wairimu Wambui Wanjiku Zawadi Zuhura",
        "Ba Bi Cha Che Ga Ha Ka Ke Ki Kip La Lu Ma Mbo Mu Mwa Na Nda Ngu Nja Nya Oki Olu Oti Oya Sa Se Ta Wa We",
        "bare binge boru chengo chiri dongo gema geri gutu karo kelo kiru kubo lango lele limu mbari mera muli ndero "
        "ngeta nguri nyoro ramba ruto saki sembo tembi thiga tumo wandi yego zimba"),
    "ethiopian": Tradition(
        7, "Ethiopian American",
        "Abebe Abel Alemu Amare Asfaw Bekele Berhanu Biniam Dawit Demissie Ermias Fikru Girma Habte Kassa Kebede "
        "Lemma Mekonnen Mulugeta Negussie Solomon Tadesse Tamrat Tesfaye Wolde Yared Yohannes Zerihun",
        "Abeba Almaz Aster Bethlehem Desta Eleni Genet Hirut Konjit Lemlem Makeda Marta Meseret Mulu Rahel Selam "
        "Senait Tigist Tsehay Worknesh Yeshi Zenebech",
        "Abe Adma Ale Asse Bahi Bele Bire Dege Dere Endal Fele Gebe Gele Gira Haile Kefe Kide Male Mene Seme Shife "
        "Tafe Tede Wega Wende Yime Zele",
        "bassa chewa dagne gesse kachew lassie lewold magne mariam meskel minew nache rassa ratu sellas shete tachew "
        "teab wossen yesus zgi"),
    "southernafrican": Tradition(
        10, "South-African Zimbabwean Zambian",
        "Bongani Chenjerai Dumisani Farai Gift Godfrey Jabulani Joseph Lucas Lungile Mandla Mandlenkosi Mpho Mthunzi "
        "Nkosana Oliver Peter Samson Sibusiso Sipho Solomon Tafadzwa Tatenda Tawanda Tendai Thabo Themba Vusi Zakes "
        "Zwelakhe",
        "Busisiwe Chipo Dikeledi Gugu Lerato Lindiwe Miriam Mpho Nandi Ndileka Nokuthula Nomsa Nomvula Noxolo Palesa "
        "Refilwe Rudo Ruvimbo Sibongile Thandeka Thandi Thoko Tsitsi Winnie Zanele Zodwa",
        "Bhe Chi Dla Gume Hla Kga Khu Kwe Lan Le Ma Mabu Madi Mahla Maka Mo Moko Mta Mthe Muny Mu Nde Ndlo Ngco Nko "
        "Nta Nya Sha Si Ta Thwa Tsho Zi Zwa",
        "baso bedi bongwe chena dandla dzima gadla ganyi khele kopane kosi laba landu lopo mbatha mbeni nyoka phiri "
        "radzi rimba satshwa sengwa shaba sibe thela tlale tombo vhuma wanda yeni zondwa zwane"),
}

# Surnames that the morphemes could spell and that a famous person bears: never used.
AVOIDED_SURNAMES = frozenset(
    "Adelanke Akamatsu Bakkeland Baldini Bellini Bellucci Bergland Berglund Bergmark Bergstedt Bertarelli Birnbaum "
    "Boldrini Brackley Bramley Bramwell Brandmayr Brisby Calverley Campini Carvalho Dalsgaard Draymore Drayton "
    "Eisenberger Engelgren Feinstock Fenner Fenning Ferretti Fosseland Gambelli Gambetti Gambini Garrison Goldblatt "
    "Goldblum Goldstock Grimsby Grimshaw Grimwade Hagenhofer Hatherley Haverkamp Holmgren Horolowitz Hvidberg Inamori "
    "Ingleby Inglesby Kawabuchi Kawakubo Kettleman Kettlewell Kipruto Kirchhofer Kirkegaard Kleinhofer Kleinmann "
    "Kolarov Laverman Laverton Lipiński Lipsky Lipstock Lorring Lundgren Malenkov Mellison Montero Nordland Nordli "
    "Nunley Obasanmi Okamori Oosterhuis Ormsby Otterbourne Otterley Pelley Pelling Pellman Pickford Pickman Quintero "
    "Rosenfelder Rosenthaler Rotmann Sandgren Sandvik Scarman Schönhuber Shimazaki Skovgaard Steinmann Stelling "
    "Stellman Storvik Sundberg Takahata Tanizaki Tardelli Tarring Tessier Thurlby Venning Villarte Wadding Wessing "
    "Whining Whinyard Yaxley".split()
)
# This share of the names loses its accents, as happens in English encyclopedias. In percent.
ACCENTS_DROPPED = 50

# Words between first name and surname: how many in a hundred have one, and which.
PARTICLES = {
    "dutch": (45, ("van ", "van der ", "de ", "van den ")), "portuguese": (25, ("da ", "de ", "dos ")),
    "german": (3, ("von ",)), "french": (3, ("de ",)), "italian": (6, ("De ", "Di ")),
}
# The endings of women's surnames: (masculine, feminine), the first that fits.
FEMININE = {
    "russian": (("sky", "skaya"), ("inskikh", "inskikh"), ("ov", "ova"), ("ev", "eva"), ("in", "ina"), ("yn", "yna")),
    "bulgarian": (("ski", "ska"), ("sky", "ska"), ("ov", "ova"), ("ev", "eva")),
    "ukrainian": (("skyi", "ska"), ("tsky", "tska")),
    "polish": (("ski", "ska"), ("cki", "cka")),
    "czech": (("ý", "á"), ("ek", "ková"), ("ec", "cová"), ("a", "ová"), ("", "ová")),
}
# Traditions in which a second first name is common, written out or as an initial.
MIDDLE_NAMES = ("english", "scottish", "irish", "welsh")
# Traditions of few surnames, in which corpora of other sizes and terms mix the syllables of given names.
MIXED_GIVEN_NAMES = ("chinese", "korean")
# What people of a vanished state are called, and the births for which the word is used.
DEMONYM_YEARS = {"Soviet": (1900, 1965), "Yugoslav": (1905, 1968), "Ottoman": (1700, 1895), "Kosovar": (1950, 1990)}

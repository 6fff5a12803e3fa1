"""The words of the simulated shop: departments, families, product types, brands, cities, errands, complements.

All names are invented or everyday words. A department line is `# name ; lean ; age ; brands`: lean is how much more
women (+1) than men (-1) look there, age the group it fits best (0 youngest .. 5 oldest). A family line is
`name ; broad query ; use ; adjectives ;` and, indented below it, `variant kind ; middle price ; types`.
`searec.data.synthetic.world_items` reads them.
"""

SHOP = """
# Outdoor ; -0.3 ; 1.5 ; Nordvik Fjellra Campero Ridgeon Tarnholt Skarven Wildmar Alpeno Brackwood
Camping ; camping gear ; nights outdoors ; lightweight waterproof compact insulated foldable sturdy windproof ;
    colour ; 70 ; tent, sleeping bag, camping mat, camping stove, headlamp
Hiking ; hiking equipment ; long days on the trail ; lightweight waterproof breathable padded durable ventilated ;
    colour ; 60 ; hiking backpack, trekking poles, water filter, hiking boots
Cycling ; bike accessories ; riding in any weather ; reflective aerodynamic adjustable rugged rechargeable light ;
    colour ; 50 ; bike helmet, bike light, bike lock, cycling gloves, bike pump
Fishing ; fishing tackle ; quiet mornings by the water ; telescopic carbon saltwater silent corrosionproof portable ;
    size ; 40 ; fishing rod, fishing reel, tackle box, landing net
Climbing ; climbing gear ; rock and gym walls ; certified dynamic lightweight comfortable grippy reinforced ;
    colour ; 75 ; climbing harness, climbing rope, climbing shoes, chalk bag
Winter sports ; ski equipment ; cold days on snow ; heated waterproof antifog insulated flexible shockproof ;
    clothes ; 95 ; ski goggles, ski jacket, ski gloves, snowboard boots
# Fashion ; 0.5 ; 1 ; Velmora Lunaire Castelle Brennick Oakhem Sorrina Marvolo Juniva Tessaro
Shoes ; footwear ; walking all day ; waterproof cushioned leather breathable slip casual trail ;
    shoes ; 80 ; running shoes, sneakers, ankle boots, sandals, loafers
Tops ; tops and shirts ; everyday outfits ; organic slim oversized striped linen soft ;
    clothes ; 30 ; t shirt, blouse, polo shirt, hoodie, knit sweater
Bottoms ; trousers ; work and weekends ; stretch highwaisted relaxed tapered washed pleated ;
    clothes ; 45 ; jeans, chinos, leggings, pleated skirt
Outerwear ; coats and jackets ; wind and rain ; quilted waterproof hooded woollen lined packable ;
    clothes ; 120 ; rain jacket, winter coat, denim jacket, trench coat
Bags ; handbags ; carrying what matters ; leather vegan quilted woven convertible slim ;
    colour ; 65 ; tote bag, crossbody bag, wallet, weekender bag
Jewellery ; jewellery ; small gifts and great days ; silver gilded minimalist engraved vintage delicate ;
    size ; 55 ; necklace, hoop earrings, bracelet, signet ring
# Electronics ; -0.4 ; 1 ; Voltrix Aurelec Pixora Kentro Sonavik Helion Quantor Mirado Zentek
Phones ; phone accessories ; calls on the move ; unlocked rugged slim foldable refurbished bright ;
    tech ; 320 ; smartphone, phone case, screen protector, phone charger, power bank
Computers ; computer equipment ; study and work ; ultralight quiet convertible powerful wireless backlit ;
    tech ; 410 ; laptop, computer monitor, mechanical keyboard, wireless mouse, laptop stand
Audio ; headphones and speakers ; music anywhere ; wireless noisecancelling portable waterproof studio bass ;
    tech ; 110 ; headphones, earbuds, bluetooth speaker, soundbar
Photography ; camera gear ; keeping the moment ; compact mirrorless stabilised weatherproof macro bright ;
    tech ; 280 ; digital camera, camera tripod, camera lens, memory card
Gaming ; gaming gear ; long evenings of play ; ergonomic wireless programmable glowing competitive tactile ;
    tech ; 130 ; game console, game controller, gaming headset, gaming chair
Smart home ; smart home devices ; a house that helps ; voice energysaving encrypted programmable wireless slim ;
    tech ; 75 ; smart bulb, smart thermostat, security camera, robot vacuum
# Home ; 0.3 ; 3 ; Hearthly Lindgard Casamia Wovenna Plumora Stillhus Oakridge Domaro Tidwell
Bedroom ; bedding ; deep sleep ; orthopaedic cooling washed satin hypoallergenic plush ;
    bed ; 85 ; mattress, pillow, duvet cover, bed frame, weighted blanket
Living room ; living room furniture ; slow evenings ; velvet modular scandinavian reclining upholstered rustic ;
    colour ; 190 ; sofa, coffee table, floor lamp, area rug, throw cushion
Bathroom ; bathroom accessories ; calm mornings ; absorbent rustproof adjustable bamboo quickdry magnetic ;
    colour ; 30 ; bath towel, shower head, bath mat, soap dispenser
Storage ; home storage ; tidy rooms ; stackable collapsible woven modular airtight labelled ;
    size ; 35 ; storage basket, shoe rack, bookcase, clothes rail
Decor ; home decor ; bare walls and shelves ; handmade ceramic framed abstract scented antique ;
    size ; 28 ; wall art, scented candle, flower vase, wall mirror
Cleaning ; cleaning supplies ; a quick clean ; cordless bagless ecological refillable washable quiet ;
    size ; 60 ; vacuum cleaner, spray mop, laundry basket, microfibre cloth
# Kitchen ; 0.2 ; 3 ; Cookara Saltmere Brasseco Panello Forkson Umamiko Grillard Butteri Steamwell
Cookware ; pots and pans ; family dinners ; nonstick enamelled forged induction ovenproof heavy ;
    size ; 65 ; frying pan, cast iron pot, saucepan, wok, roasting tin
Coffee and tea ; coffee equipment ; the first cup ; automatic stainless glass programmable manual insulated ;
    tech ; 120 ; espresso machine, coffee grinder, french press, tea kettle, milk frother
Knives ; kitchen knives ; clean cuts ; japanese serrated forged ceramic balanced sharp ;
    size ; 55 ; chef knife, bread knife, knife sharpener, cutting board
Small appliances ; kitchen appliances ; quick meals ; digital compact powerful quiet programmable retro ;
    tech ; 95 ; air fryer, stand mixer, blender, toaster, rice cooker
Baking ; baking supplies ; cakes and bread ; silicone nonstick adjustable precise deep ceramic ;
    size ; 22 ; cake tin, rolling pin, kitchen scale, baking sheet
Tableware ; dinnerware ; setting the table ; porcelain handmade stackable crystal speckled dishwasherproof ;
    colour ; 40 ; dinner plates, wine glasses, cutlery set, serving bowl
# Beauty ; 0.8 ; 1.5 ; Belvana Rosaline Dermelle Glowen Sativa Purelis Mirelle Ondara Kosmea
Skincare ; skin care ; skin that feels good ; hydrating vegan fragrancefree brightening soothing mineral ;
    bottle ; 24 ; face cream, face serum, sunscreen, face mask, cleansing gel
Make up ; cosmetics ; day and night looks ; matte longlasting waterproof creamy glossy sheer ;
    bottle ; 18 ; lipstick, mascara, foundation, eyeshadow palette
Hair ; hair care ; every kind of hair ; repairing volumising sulphatefree ionic nourishing curly ;
    bottle ; 30 ; shampoo, hair conditioner, hair dryer, hair straightener
Fragrance ; perfumes ; leaving a trace ; floral woody citrus oriental fresh intense ;
    bottle ; 62 ; eau de parfum, cologne, body mist, scented oil
Shaving ; shaving products ; a close shave ; precision cordless sensitive classic foaming sharp ;
    size ; 38 ; electric shaver, beard trimmer, razor blades, shaving foam
Wellness ; wellness products ; rest and balance ; calming natural warming herbal therapeutic quiet ;
    bottle ; 33 ; massage gun, essential oils, aroma diffuser, bath salts
# Kids ; 0.4 ; 2 ; Tuttino Bimbasol Kidoria Pebblepop Lullabee Zappeli Hoppla Minimo Sproutle
Baby ; baby products ; the first year ; gentle washable foldable organic padded safe ;
    kids ; 70 ; baby stroller, baby carrier, diapers, baby bottle, baby monitor
Toys ; toys ; playing together ; wooden musical educational magnetic glowing soft ;
    kids ; 28 ; building blocks, toy train, stuffed animal, doll house, toy kitchen
Games ; board games ; rainy afternoons ; cooperative classic strategic travel illustrated quick ;
    pack ; 26 ; board game, jigsaw puzzle, card game, memory game
Crafts ; craft supplies ; little makers ; washable colourful sparkling nontoxic reusable chunky ;
    pack ; 16 ; crayons, modelling clay, finger paint, sticker book
School ; school supplies ; school days ; ergonomic durable reflective erasable spacious light ;
    colour ; 30 ; school backpack, pencil case, lunch box, drinking bottle
Kids clothing ; children clothes ; growing fast ; cotton printed cosy lined stretchy fleece ;
    kids ; 22 ; pyjamas, romper, kids raincoat, rubber boots
# Books ; 0.1 ; 3.5 ; Inkwell Papyra Lanternpress Quillon Folio Marginal Northleaf Tomera Bookhaven
Fiction ; novels ; getting lost in a story ; gripping award bestselling translated moving dark ;
    book ; 14 ; crime novel, fantasy novel, love story, historical novel, short stories
Non fiction ; non fiction books ; curious minds ; concise practical groundbreaking personal complete lively ;
    book ; 19 ; biography, popular science, history book, travel guide, cookbook
Learning ; textbooks ; exams and new skills ; beginner advanced illustrated revised annotated complete ;
    book ; 36 ; language course, programming book, mathematics textbook, exam guide
Comics ; comics ; panels and pages ; coloured complete vintage epic funny dark ;
    book ; 16 ; manga, graphic novel, superhero comic, comic strip
Stationery ; stationery ; thoughts on paper ; dotted refillable recycled leather fine hardbound ;
    colour ; 12 ; notebook, fountain pen, planner, gel pens
Music ; sheet music and instruments ; playing by ear or note ; acoustic beginner electric handcrafted compact tuned ;
    size ; 150 ; guitar, ukulele, digital piano, guitar strings
# Garden ; -0.1 ; 4 ; Greenholm Florabel Rakewell Spadero Mosswick Verdano Bloomery Thornby Gardelio
Plants ; plants and seeds ; growing your own ; organic hardy flowering evergreen perennial fragrant ;
    pack ; 14 ; flower bulbs, vegetable seeds, house plant, fruit tree
Garden tools ; gardening tools ; beds and borders ; stainless cordless telescopic ergonomic sharp forged ;
    size ; 45 ; pruning shears, garden spade, hedge trimmer, lawn mower, wheelbarrow
Watering ; garden watering ; dry summers ; expandable automatic programmable leakproof kinkfree solar ;
    size ; 38 ; garden hose, lawn sprinkler, watering can, irrigation timer
Garden furniture ; patio furniture ; long summer evenings ; weatherproof folding rattan teak cushioned stackable ;
    colour ; 170 ; garden chair, patio table, sun lounger, parasol
Barbecue ; grilling ; fire and smoke ; portable charcoal gas stainless ceramic smokeless ;
    size ; 140 ; barbecue grill, grill tongs, charcoal briquettes, meat thermometer
Pots and soil ; planters ; balconies and sills ; frostproof glazed hanging peatfree enriched selfwatering ;
    size ; 20 ; plant pot, potting soil, plant fertiliser, raised bed
# Pets ; 0.2 ; 2.5 ; Pawsley Whiskra Barkwell Tailio Furrano Petunia Snoutly Meowra Hundelo
Dogs ; dog supplies ; happy walks ; reflective grainfree orthopaedic padded adjustable chewproof ;
    pack ; 32 ; dog food, dog leash, dog bed, dog harness, dog treats
Cats ; cat supplies ; clever cats ; clumping grainfree washable interactive tall covered ;
    pack ; 28 ; cat food, cat litter, scratching post, cat toy, litter box
Fish ; aquarium supplies ; clear water ; silent tropical submersible automatic planted bright ;
    size ; 48 ; aquarium, aquarium filter, fish food, aquarium light
Birds ; bird supplies ; songs at the window ; squirrelproof natural hanging wooden mixed spacious ;
    size ; 22 ; bird feeder, bird seed, bird cage, nest box
Small animals ; small pet supplies ; soft little friends ; absorbent roomy silent natural cosy chewable ;
    pack ; 25 ; hamster cage, rabbit hay, guinea pig food, pet bedding
Pet care ; pet care ; clean coats ; gentle hypoallergenic quiet rechargeable natural fast ;
    bottle ; 19 ; pet shampoo, pet brush, nail clipper, flea collar
# Fitness ; -0.1 ; 1 ; Stridex Powerra Flexon Athlero Enduro Kinetiq Musclar Yogavid Sprintec
Strength ; strength training ; training at home ; adjustable rubber compact foldable heavy coated ;
    size ; 75 ; dumbbells, kettlebell, weight bench, resistance bands, pull up bar
Cardio ; cardio machines ; burning energy ; foldable magnetic quiet digital compact weighted ;
    tech ; 330 ; treadmill, exercise bike, rowing machine, skipping rope
Yoga ; yoga equipment ; stretching and breathing ; nonslip cork thick recycled travel soft ;
    colour ; 32 ; yoga mat, yoga block, foam roller, yoga pants
Nutrition ; sports nutrition ; strength and recovery ; vegan sugarfree chocolate vanilla natural isotonic ;
    pack ; 29 ; protein powder, energy bars, creatine, electrolyte drink
Team sports ; ball sports ; matches and practice ; official durable youth grippy indoor weatherproof ;
    size ; 34 ; football, basketball, shin guards, sports bag
Wearables ; sports watches ; counting every step ; waterproof slim solar rugged bright accurate ;
    tech ; 160 ; fitness tracker, running watch, heart rate monitor, running belt
"""

VARIANTS = {
    "shoes": ("women men unisex", "36 37 38 39 40 41 42 43 44 45"),
    "clothes": ("women men unisex", "xs s m l xl xxl"),
    "colour": ("black white grey blue navy green olive red orange beige", "small medium large"),
    "tech": ("black white silver blue graphite red", "2019 2020 2021 2022 2023"),
    "size": ("basic classic plus pro", "small medium large xl"),
    "bed": ("single double queen king", "white grey blue sage sand"),
    "bottle": ("travel regular refill gift", "30ml 50ml 75ml 100ml 200ml 400ml"),
    "kids": ("blue green pink yellow grey red", "6m 12m 2y 4y 6y 8y"),
    "pack": ("single twin family value", "100g 250g 500g 1kg 2kg"),
    "book": ("hardcover paperback pocket audiobook", "first second third anniversary collector"),
}
"""First and second half of what tells two items of one type apart, by variant kind; each half is one word."""

AUDIENCE = {"women": 1, "men": 2}
"""Variant words that name who an item is for; any other word is for all (0)."""

COMPLEMENTS = """
tent > sleeping bag, camping mat
sleeping bag > camping mat, headlamp
camping stove > headlamp, water filter
hiking backpack > trekking poles, hiking boots
hiking boots > trekking poles, rain jacket
bike helmet > bike light, cycling gloves
bike lock > bike light, bike pump
fishing rod > fishing reel, tackle box
climbing harness > climbing rope, chalk bag
climbing shoes > chalk bag, climbing harness
ski jacket > ski gloves, ski goggles
running shoes > running belt, running watch
jeans > t shirt, sneakers
pleated skirt > blouse, ankle boots
winter coat > ankle boots, knit sweater
necklace > hoop earrings, bracelet
smartphone > phone case, screen protector
phone case > screen protector, power bank
laptop > wireless mouse, laptop stand
computer monitor > mechanical keyboard, wireless mouse
digital camera > memory card, camera tripod
camera lens > camera tripod, memory card
game console > game controller, gaming headset
gaming chair > gaming headset, mechanical keyboard
smart bulb > smart thermostat, security camera
mattress > pillow, duvet cover
bed frame > mattress, pillow
sofa > throw cushion, coffee table
coffee table > area rug, floor lamp
bath towel > bath mat, soap dispenser
flower vase > scented candle, house plant
vacuum cleaner > spray mop, microfibre cloth
frying pan > chef knife, saucepan
espresso machine > coffee grinder, milk frother
french press > coffee grinder, tea kettle
chef knife > cutting board, knife sharpener
stand mixer > cake tin, kitchen scale
cake tin > rolling pin, baking sheet
dinner plates > cutlery set, wine glasses
face cream > face serum, sunscreen
foundation > mascara, lipstick
shampoo > hair conditioner, hair dryer
electric shaver > shaving foam, beard trimmer
essential oils > aroma diffuser, bath salts
baby stroller > baby carrier, baby bottle
diapers > baby bottle, romper
toy train > building blocks, jigsaw puzzle
board game > card game, jigsaw puzzle
crayons > sticker book, finger paint
school backpack > pencil case, lunch box
cookbook > chef knife, kitchen scale
travel guide > weekender bag, language course
manga > graphic novel, card game
notebook > fountain pen, gel pens
guitar > guitar strings, ukulele
house plant > plant pot, potting soil
vegetable seeds > raised bed, watering can
lawn mower > hedge trimmer, lawn sprinkler
garden chair > patio table, parasol
barbecue grill > charcoal briquettes, grill tongs
plant pot > potting soil, plant fertiliser
dog leash > dog harness, dog treats
dog food > dog treats, dog bed
cat food > cat litter, cat toy
cat litter > litter box, scratching post
aquarium > aquarium filter, fish food
bird feeder > bird seed, nest box
hamster cage > pet bedding, guinea pig food
dumbbells > weight bench, resistance bands
treadmill > running shoes, heart rate monitor
yoga mat > yoga block, yoga pants
protein powder > energy bars, creatine
football > shin guards, sports bag
running watch > heart rate monitor, running belt
"""
"""What is often bought after a type; a type without a line is followed by the next ones of its family."""

ERRANDS = (
    "visa apply",
    "where is my order",
    "customer service phone number",
    "weather tomorrow",
    "return policy",
    "gift card balance",
    "opening hours",
    "change delivery address",
    "train tickets",
    "lottery numbers",
    "download invoice",
    "student discount code",
    "bank holiday dates",
    "translate english",
    "flight status",
    "password reset",
    "delete account",
    "jobs near me",
    "news today",
    "currency converter",
)
"""Queries that ask for nothing the shop sells."""

ARTICLES = (
    "Made for {use}.",
    "As {adjective} as it gets, for {use}.",
    "For {use}, day after day.",
    "Our customers take it for {use}.",
)
"""Sentences of an item's description."""

AGE_GROUPS = ("18-24", "25-34", "35-44", "45-54", "55-64", "65+")
GENDERS = ("female", "male", "other")
CITIES = (
    "Aldermoor",
    "Brightwater",
    "Dunhollow",
    "Eastmere",
    "Fernport",
    "Greyhaven",
    "Highcross",
    "Ironvale",
    "Juniper Bay",
    "Kelmouth",
)

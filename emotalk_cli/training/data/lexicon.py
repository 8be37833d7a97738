"""The emotion words, phrases and scenes that supervise the text tower, written and labelled by hand.

A label is a mixture such as "happy:0.6+surprised:0.4"; what is missing to 1 is neutral. `HELD_OUT` and
`VALENCE` are for measuring: no text that contains one of those words (or its stem) is ever labelled in
training. `label` reads a mixture.
"""

from __future__ import annotations

import re

import numpy as np

from ...emotions.prototypes import CLASSES, parts

WORDS: dict[str, str] = {
    "happy": """happy, joyful, joyous, cheerful, delighted, ecstatic, thrilled, rapturous, jovial, smiling, laughing,
        grinning, beaming, happiness, joy, delight, cheer, cheerfulness, ecstasy, glad, gladness, gaiety, rejoicing,
        laughter, hilarity, hilarious, amused, amusement, festive, celebrating, celebratory, over the moon,
        in high spirits, full of joy, happy as a clam, walking on air, bursting with joy, euphoria, euphoric, rapture,
        in seventh heaven, jumping for joy, having fun, fun, exhilarated, exhilaration, enraptured, gleaming with joy,
        all smiles, a big smile, a broad grin, grinning from ear to ear, cracking up, giggling, giggly, chuckling,
        laughing out loud, buoyant, in a great mood, full of the joys of spring, enjoying every moment, enjoyment,
        stoked, pumped, joyfulness, tickled to death, a warm smile, wonderful, fantastic, great, awesome, excellent,
        brilliant, lovely, delightful, enjoyable, heavenly, ebullient, effervescent, bubbly, sparkling, rollicking,
        winning, lucky, loving life, life is beautiful, happy-go-lucky, cheery, cheering, excited and happy,
        good news, tears of joy, yay, hooray, woohoo, haha, lol, hurrah, pleasure, pleasant surprise party""",
    "happy:0.75": """pleased, satisfied, proud, grateful, gratitude, appreciative, pride, satisfaction, enthusiastic,
        enthusiasm, eager, lighthearted, light-hearted, good-humored, good-natured, warm, friendly, loving, love,
        in love, affection, adoring, adoration, fond, fondness, passionate, romantic, welcoming, kind, sweet,
        flirtatious, amorous, tickled, bright, lively, animated, energetic, spirited, confident, self-confident,
        successful, honored, flattered, blessed, fortunate, encouraged, encouraging, welcome, sociable, jaunty,
        good, nice, feeling good, pleasant, hearty, genial, convivial, amiable, contentment, feeling great,
        fulfillment, mischievous, impish, cheeky, naughty, witty, zeal, zealous, keen, devoted, admiring, admiration,
        charming, glowing, rosy, infatuated, infatuation, enthralled, entertained, blithe, at peace with the world,
        heartwarming, heart-warming, touched, empowered, vibrant, youthful, congratulating, congratulations""",
    "happy:0.5": """content, contented, hopeful, hope, relieved, relief, reassured, comfortable, comforted, at ease,
        compassionate, compassion, sympathetic and kind, gentle, optimism, trusting, trustful, secure, safe, generous,
        gracious, courteous, polite, caring, tenderhearted, warmhearted, benevolent, motivated, determined and cheerful,
        ok and smiling, a faint smile, a slight smile, smirking happily, forgiving, cooperative, accepting, harmonious,
        well, fine and dandy, agreeable, approving, approval, supportive, patient and kind, cosy, snug, at home""",
    "happy:0.3": """relaxed, relaxation, peaceful, peace, at peace, calm and content, mindful, meditative and
        happy, easygoing, laid-back, chilled, chilled out, restful, rested, unworried, untroubled, undisturbed
        and content, interested, interest, engaged, alert and friendly, focused and positive, attentive and
        warm, thoughtful and kind""",
    "neutral": """neutral, blank, straight-faced, straight face, a blank face, no emotion, without emotion,
        without any emotion, without feeling, no feelings, unfeeling, emotionally flat, flat, flat affect, detached,
        detachment, plain, ordinary, normal, usual, average, calm, calmness, calm and collected, cool-headed,
        unperturbed, unfazed, unmoved, unaffected, unconcerned, unruffled, undisturbed, uninvolved, disinterested,
        nonchalant, indifferent, indifference, neither happy nor sad, neither angry nor happy, robotic, mechanical,
        inexpressive, unexpressive, unreadable, phlegmatic, objective, impartial, rational, factual, newsreader,
        like a newsreader, default, resting face, at rest, idle, standard, steady, stable, balanced, even-tempered,
        equanimity, neutrality, quiet, silent, still, listening, waiting, reading aloud, professional, serious-minded,
        nothing special, so-so, meh, okay, fine, all right, nothing, no expression, a neutral expression, monotone,
        monotonous, unimpressed but calm, self-possessed, collected, cool, unexcited, unsurprised, imperturbable,
        unflappable, wooden, stony-faced, stone-faced, vacant, blankly, ordinary everyday speech, speaking normally""",
    "sad:0.25": """serious, seriousness, solemn, solemnity, grave, earnest, thoughtful, reflective, sleepy, drowsy,
        tired, fatigued, fatigue, exhausted, worn out, lethargic, bored, boredom, uninterested, unenthusiastic, dull,
        shy, bashful, shyness, lost in thought, preoccupied, absent-minded, dazed, spaced out, concerned, ambivalent""",
    "sad": """sad, sadness, unhappy, unhappiness, depressed, depression, miserable, misery, heartbroken, heartbreak,
        grieving, grief, grief-stricken, gloomy, gloom, glum, crying, weeping, sobbing, in tears, lamenting,
        melancholy, melancholic, dismal, blue, feeling blue, down in the dumps, downhearted, down, low, dispirited,
        disheartened, despairing, despair, in despair, devastated, devastation, brokenhearted, broken, desolate,
        desolation, sombre, somber, dreary, morose, joyless, cheerless, saddened, upset and crying, wailing, howling
        with grief, bawling, suffering, hurt, heartache, sadly, unhappily, a sad face, tears in her eyes,
        teary-eyed, on the verge of tears, lachrymose, tragic, tragedy, funereal, bereaved, bereavement, mope, moping,
        woebegone, sorry, in a bad place, down and out, feeling empty, sob, cry, weep, sniffling, abandoned, rejected,
        unloved, lonely, loneliness, heart-rending, pathetic, pitiful, bad news, dejectedly lonely, long-faced,
        a broken heart, in mourning dress, the blues, sulking sadly, suicidal, defeated, discouraged, discouragement,
        let down, dolor, plaintive, lugubrious, saturnine, dysphoric, dysphoria, a lump in the throat, downer""",
    "sad:0.7": """disappointed, disappointment, ashamed, shame, guilt, regret, sorry for someone, apologetic,
        embarrassed, embarrassment, nostalgic, nostalgia, homesickness, longing, yearning, pining, sympathy,
        sympathetic, pity, empathy, moved to tears, touched and sad, insecure, inferior, inadequate, worthless,
        helpless, helplessness, powerless, vulnerable, neglected, isolated, lonelyhearted, excluded, ignored,
        unwanted, misunderstood, pessimistic, pessimism, resigned, resignation, submissive, contrite, penitent,
        repentant, self-pity, pouting, pouty, sulky, sulking, drained, burnt out, overworked, frail, ill, sick
        in bed, unwell, repining, deprived""",
    "angry": """angry, anger, furious, fury, rage, raging, enraged, outraged, outrage, mad, ireful, ire, hostile
        anger, boiling, boiling with rage, burning with anger, maddened, rabid, ranting, ranting and raving,
        raving mad at someone, yelling, shouting angrily, screaming at someone, aggressive, aggression, violent,
        hot under the collar, seeing red, hopping mad, beside himself with rage, losing his temper,
        short-tempered, bad-tempered, ill-tempered, hot-tempered, quick-tempered, tantrum, temper, wild with
        anger, ferocious, fierce, savage, scowling, scowl, glaring, a death stare, glowering, growling,
        snarling, gritting his teeth, clenched teeth, clenched fists, threatening, menacing, murderous, up in
        arms, ticked off, pissed, pissed off, pissed at you, provoked, inflamed, angered, riled, riled up,
        angrily, furiously, choleric, apoplectic, at war, blowing a fuse, ballistic, steaming mad, mad at
        everyone, losing it, going berserk, berserk, frenzied rage, revenge, vengeance, vindictive, combative,
        confrontational, quarrelsome, bloodthirsty, pugnacious, a furious look, angry as a hornet, bearing a
        grudge, an angry face, road rage, damn it, shut up""",
    "angry:0.7": """annoyed, annoyance, irritated, irritation, frustrated, frustration, offended, resentful,
        resentment, impatient, impatience, displeased, displeasure, aggravated, bothered, nettled, piqued,
        galled, irked, testy, touchy, grouchy, crabby, surly, petulant, stern, strict, harsh, severe, defiant,
        defiance, stubborn, disobedient, rebellious, argumentative, antagonistic, antagonized, accusing,
        accusatory, reproachful, critical, scolding, reprimanding, disapproving, disapproval, frowning, frown,
        frowning angrily, antsy and annoyed, put out, worked up, stressed and angry, cantankerous, ornery,
        bristling, huffy, in a huff, in a bad mood, moody, curt, brusque, gruff, sharp-tongued, demanding,
        bossy, dissatisfied, dissatisfaction, cruel, ruthless, malicious, malice, malevolent, evil, wicked,
        sinister, rude, mean, nasty, insulted, betrayed, cheated""",
    "angry:0.5": """determined, determination, resolute, concentrating hard, straining, competitive, tough,
        grim, skeptical frown""",
    "fearful": """afraid, scared, fearful, fear, terrified, terror, terror-stricken, terrorized, dread,
        dreading, horror, in horror of dying, horror film victim, scared to death, scared stiff, scared out of
        his wits, trembling, quaking, shaking like a leaf, shaking with terror, cowardly, cowardice,
        intimidated, threatened, haunted, hysterical with terror, phobic, phobia, afraid of the dark, fearfully,
        full of dread, frantic with fear, frantic, in danger, hunted, chased, running for her life, screaming in
        terror, bloodcurdling, hair-raising, scaredy cat, white as a sheet, frozen with fear, paralysed with
        fear, chilled to the bone, having cold feet, heart in mouth, scared, terrifying, scary, menaced, creeped
        out, having the creeps, nightmare, nightmarish, a nightmare, trepidation, fearing the worst, fearing for
        his life, help me, afraid and hiding, ghastly fear""",
    "fearful:0.7": """anxious, anxiety, worried, worry, nervous, nervousness, uneasiness, tense, tension,
        stressed, stressed out, on edge, agitated, agitation, distressed, distress, troubled, restless, insecure
        and afraid, suspicious, wary, cautious, hesitant, unsure, uncertain, doubtful, overwhelmed, desperate,
        desperation, jumpy, fretful, fretting, perturbed, disquieted, disquiet, unsettled, shaken, shaky,
        nail-biting, on tenterhooks, butterflies in my stomach, stage fear, worried sick, foreboding, qualms,
        misgivings, freaked out, freaking out, concern and worry, timid, timidity, meek, self-conscious,
        cornered, trapped, exposed, fear of failing, high-strung""",
    "surprised": """surprised, surprise, astonished, astonishment, amazed, amazement, stunned, shocked and
        surprised, speechless, surprisingly, in surprise, wide-eyed, wide-eyed with wonder, jaw dropping, jaw on
        the floor, open-mouthed, agape, gaping, gasping, mouth agape, unexpected, unexpectedly, caught off
        guard, caught by surprise, out of the blue, did not see that coming, I can't believe it, unbelievable,
        incredible, incredulous, incredulity, disbelief, in disbelief, blown away, mind blown, mind-blown,
        mind-boggling, wow, oh my god, omg, what, no way, really, raised eyebrows, eyebrows raised, jolted,
        nonplussed, wonderstruck, marvelling, marveling, taken by surprise, surprising, astonishing, amazing
        news, revelation, plot twist, bolt from the blue, flummoxed, floored, electrified, agog, rubbing his
        eyes in disbelief, bug-eyed, stupefied, stupefaction, bewilderment and surprise, eye-opening, what a
        surprise, knocked for six, shell-shocked, double take""",
    "surprised:0.8+fearful:0.2": "shocked, shock, in shock, shocking, electrocuted, rattled, stunned by bad news",
    "surprised:0.6": """confused, confusion, bewildered, bewilderment, perplexed, perplexity, baffled,
        mystified, intrigued, intrigue, disoriented, wondering, wonder, curiosity, inquisitive, quizzical,
        questioning, doubting, befuddled, bemused, dumb with wonder, at a loss, fascinated, fascination,
        impressed, awakened suddenly, puzzlement""",
    "disgusted": """disgusted, disgust, disgusting, revulsion, repugnance, repugnant, repugnantly, gross me,
        yuck, yucky, eww, ew, ugh, vomiting, vomit, puking, throwing up, about to throw up, sick to my stomach,
        foul, vile, loathsome, rotten, putrid, stinking, stench, smelly, a foul smell, filthy, nasty smell,
        distaste, distasteful, aversion, averse, detestation, abomination, abominable, abominated, odious,
        offensive smell, sickly revolting taste, turned off, retching, gagging, makes me want to puke, wrinkled
        nose, wrinkling her nose, bad taste in the mouth, unpalatable, unsavory, disgustedly, in disgust,
        tasting something awful, holding his nose, icky, slimy, gruesome, stomach-churning, stomach-turning,
        barf, barfing, phew, maggots, cringe, cringing, bilious, ill at the sight""",
    "contempt": """contempt, scorn, scornful, contemptuous, contemptible, disrespect, disrespectful, smirk,
        smirking, cynical, cynicism, sardonic, sarcastic, sarcasm, arrogant, arrogance, superior, superiority,
        looking down on, looking down on someone, patronizing, patronising, dismissive, belittling, ridicule,
        ridiculing, jeering, jeer, scoffing, scoff, taunting, deprecating, deriding, self-important,
        self-satisfied smirk, holier-than-thou, high and mighty, rolling her eyes, eye roll, rolling eyes,
        unimpressed, pompous, snobbish, snob, snobby, stuck-up, conceited, conceit, lordly, imperious,
        scornfully, contemptuously, with contempt, pooh-pooh, whatever, don't make me laugh, a lopsided smirk,
        one-sided smile, wry, ironic, irony, insolent, insolence, turning up his nose, overbearing, cavalier,
        hubris, vain, vanity, narcissistic, disparaging, demeaning, judgmental, sniffy, curled lip""",
    "contempt:0.6": """skeptical, sceptical, skepticism, distrustful, distrust, mistrust, dubious, aloof, cocky,
        unconvinced""",
    "angry:0.6+disgusted:0.4": """hatred, hate, hateful, hating, detest, detesting, abhorrence, animosity, enmity,
        venomous, rancor, rancorous, hostility, despise, I hate you, hatefully, misanthropic, xenophobic, bigoted""",
    "disgusted:0.6+surprised:0.4": "appalled, appalling, scandalized, dismayed and disgusted, outrageous behaviour",
    "surprised:0.7+fearful:0.3": "awed, awe, awestruck, in awe, awe-inspired, overawed, reverent wonder",
    "surprised:0.5+fearful:0.5": """horrified, horrifying, horror-struck, aghast, shell shock, scared witless,
        jump scare""",
    "happy:0.6+surprised:0.4": """excited, excitement, ecstatic surprise, pleasantly surprised, delighted
        surprise, amazed and happy, wonderful surprise, starstruck, happy astonishment, overcome with joyful
        amazement, anticipation, eager anticipation, marvelous, eureka, happily surprised, happily amazed""",
    "happy:0.5+sad:0.5": "bittersweet, happy tears, crying with joy and pain, smiling through tears, happily sad",
    "sad:0.6+fearful:0.4": """dismayed, dismay, anguish, agony, torment, in pain, pain, traumatized, tortured,
        panicking and crying""",
    "sad:0.6+angry:0.4": """upset, hurt and angry, bitterness, aggrieved, jealousy, envy, heartbroken and
        furious, indignity""",
    "sad:0.5+surprised:0.5": """sadly surprised, shocked and saddened, stunned with grief, unpleasantly
        surprised by loss""",
    "contempt:0.6+happy:0.4": """gloating, schadenfreude, a smug smile, self-satisfied, teasing, sly, cunning,
        wily, triumphal sneer""",
    "contempt:0.6+disgusted:0.4": """despising, despised, loathing contempt, disgusted and superior, utter
        contempt for filth""",
    "contempt:0.5+angry:0.5": """spite, insulting, jeering anger, bullying, abusive, scornful fury, scathing,
        vitriolic, caustic""",
    "happy:0.5+disgusted:0.5": "happily disgusted, amused disgust, laughing at something gross, fun but yucky",
    "angry:0.5+surprised:0.5": """angrily surprised, angry disbelief, shocked and furious, outraged
        astonishment, how dare you""",
    "fearful:0.5+angry:0.5": "fearfully angry, angry and afraid, defensive, hysterical, hysteria, cornered animal",
    "fearful:0.5+disgusted:0.5": "fearfully disgusted, morbid horror, sickening terror, creepy-crawly",
    "happy:0.5+fearful:0.5": """happily fearful, thrilled and scared, on a roller coaster, excited but nervous,
        nervous laughter""",
}

# Basic emotion words of other languages, as their speakers would type them, and signs.
FOREIGN: dict[str, str] = {
    "happy": """😀, 😃, 😄, 😁, 😂, 🤣, 😊, 😍, 🥰, 🙂, 🎉, :), :-), :D, ^^, glücklich, fröhlich, froh, freudig,
        heureux, heureuse, joyeux, content et joyeux, feliz, alegre, contento, felice, contenta, allegro, gioioso, blij,
        gelukkig, vrolijk, szczęśliwy, wesoły, radosny, kuaile, gaoxing, glad og lykkelig, lycklig, lykkelig,
        mutlu, freude, joie, alegría, gioia, alegria, vreugde, radość, ureshii, senang, iloinen""",
    "sad": """😢, 😭, 😞, 😔, 🙁, ☹, 💔, :(, :-(, ;(, traurig, triste, tristesse, tristeza, tristezza, verdrietig,
        smutny, smutek, beishang, nanguo, ledsen, trist, üzgün, betrübt, deprimiert, deprimido, déprimé,
        droevig, bedroefd, przygnębiony, kanashii, sedih, surullinen, malheureux""",
    "angry": """😠, 😡, 🤬, >:(, wütend, zornig, verärgert, en colère, fâché, furieux, enojado, enfadado, furioso,
        arrabbiato, com raiva, zangado, irritado, boos, kwaad, woedend, zły, wściekły, shengqi, fennu, arg,
        sint, vred, kızgın, wut, colère, ira, rabbia, raiva, okotta, marah, vihainen, böse""",
    "fearful": """😨, 😱, 😰, ängstlich, verängstigt, angst, furchtsam, effrayé, apeuré, peur, asustado, temeroso,
        miedo, spaventato, impaurito, paura, assustado, medo, bang, angstig, przestraszony, przerażony, strach,
        haipa, kongju, rädd, redd, bange, korkmuş, kowai, takut, peloissaan""",
    "surprised": """😲, 😮, 😯, 🤯, :O, O_O, überrascht, erstaunt, verblüfft, surpris, étonné, sorprendido,
        asombrado, sorpreso, stupito, sorpresa, surpreso, surpreendido, verrast, verbaasd, zaskoczony,
        zdziwiony, jingya, förvånad, overrasket, şaşkın, odoroita, terkejut""",
    "disgusted": """🤢, 🤮, angeekelt, angewidert, ekel, dégoûté, dégoût, asqueado, asco, disgustato, disgusto,
        enojado com nojo, enojo e nojo, com nojo, nojo, walgend, walging, zniesmaczony, obrzydzony, wstręt,
        exin, äcklad, tiksinmiş, ällöttynyt""",
    "contempt": """😏, 🙄,
        verächtlich, verachtung, méprisant, mépris, despectivo, desprecio, sprezzante, disprezzo, desdenhoso,
        desprezo, minachtend, minachting, pogardliwy, pogarda, miaoshi, föraktfull, förakt""",
    "neutral": """😐, 😑, 😶, :|,
        neutro, neutre, neutraal, neutrale, neutralny, ruhig, gelassen, calme, tranquilo, calmo, rustig, spokojny,
        zhongxing, pingjing, lugn, rolig, sakin, gleichgültig, indifférent, indiferente""",
}

# (adjective, adverb, noun) of each basic, for phrases and compounds.
CORE: dict[str, list[tuple[str, str, str]]] = {
    "happy": [
        ("happy", "happily", "happiness"),
        ("joyful", "joyfully", "joy"),
        ("delighted", "delightedly", "delight"),
        ("cheerful", "cheerfully", "cheer"),
        ("amused", "amusedly", "amusement"),
        ("glad", "gladly", "gladness"),
    ],
    "sad": [
        ("sad", "sadly", "sadness"),
        ("unhappy", "unhappily", "unhappiness"),
        ("miserable", "miserably", "misery"),
        ("gloomy", "gloomily", "gloom"),
        ("melancholy", "sadly", "melancholy"),
        ("heartbroken", "brokenheartedly", "grief"),
    ],
    "surprised": [
        ("surprised", "surprisedly", "surprise"),
        ("amazed", "amazedly", "amazement"),
        ("astonished", "astonishedly", "astonishment"),
        ("incredulous", "incredulously", "disbelief"),
        ("shocked", "in shock", "shock"),
    ],
    "angry": [
        ("angry", "angrily", "anger"),
        ("furious", "furiously", "fury"),
        ("enraged", "in a rage", "rage"),
        ("annoyed", "annoyedly", "annoyance"),
        ("outraged", "outragedly", "outrage"),
        ("mad", "madly", "hostility"),
    ],
    "disgusted": [
        ("disgusted", "disgustedly", "disgust"),
        ("turned off", "with distaste", "distaste"),
    ],
    "fearful": [
        ("afraid", "fearfully", "fear"),
        ("scared", "scaredly", "terror"),
        ("fearful", "fearfully", "dread"),
        ("terrified", "in terror", "terror"),
        ("nervous", "nervously", "nervousness"),
        ("anxious", "anxiously", "anxiety"),
    ],
    "contempt": [
        ("contemptuous", "contemptuously", "contempt"),
        ("scornful", "scornfully", "scorn"),
        ("arrogant", "arrogantly", "arrogance"),
        ("cynical", "cynically", "cynicism"),
    ],
    "neutral": [
        ("neutral", "neutrally", "neutrality"),
        ("calm", "calmly", "calmness"),
        ("indifferent", "indifferently", "indifference"),
    ],
}

# Paraphrases, used as they are.
PHRASES: dict[str, str] = {
    "neutral": """showing no emotion, showing no feeling, hiding every emotion, having little emotion, free of
        emotion, unaffected by emotion, lacking expression, no facial expression, without strong feelings, not
        easily excited, a vacuous look, a mask-like face, keeping a straight face, giving nothing away, like a
        robot, like a machine, cold and factual, without passion, self-controlled, steady and even, patient and
        calm, not showing feelings, having or revealing little emotion, deliberately hiding what one feels,
        unaffected by strong emotion or bias""",
    "disgusted": """feeling sick, about to be sick, an upset stomach, it makes me sick, causing disgust, strongly
        put off, easily disgusted, a sick feeling in the stomach, offensive to the senses, cannot stand the
        smell""",
    "surprised": """filled with sudden wonder, struck dumb with surprise, completely unprepared, overwhelmed with
        surprise, as if struck by lightning, unable to believe one's eyes, caught unawares, a sudden surprise""",
    "contempt": """thinking oneself better than others, expressing contempt, treating others as inferior, proud
        and rude, having or showing arrogant superiority, regarding others as beneath notice, making fun of
        someone cruelly""",
    "angry": """extremely angry, marked by extreme anger, feeling anger at something unjust, violently angry,
        very angry and about to explode, easily angered, roused to anger, showing deep anger""",
    "fearful": """so scared that one cannot move, easily scared, feeling fear, thrown into a state of intense
        fear, afraid of what may happen, worried that something bad will happen, lacking courage, sudden
        overpowering terror""",
    "sad": """feeling or showing grief, deeply unhappy, full of sadness, low in spirits, without any joy
        left""",
    "happy": """full of high spirits, feeling great joy, extremely happy, showing great happiness, full of fun
        and laughter""",
}

# What has just happened to the speaker (past participle, after "has just"); one per line.
SCENES: dict[str, str] = {
    "happy": """won the lottery
        got married to the love of her life
        passed the final exam with the best grade
        been given a puppy
        become a parent
        heard that the cancer is gone
        got the job of his dreams
        been promoted
        won an Olympic gold medal
        come home to the family after a long time
        heard the funniest joke in the world
        been told I love you
        seen the baby smile for the first time
        scored the winning goal
        graduated from university
        danced all night with friends
        fallen in love
        received a standing ovation
        found the perfect gift
        eaten the best ice cream ever
        finished school for the summer
        got a hug from an old friend
        been chosen for the team
        paid off the mortgage
        watched a great comedy
        gone on a dream holiday
        played with a kitten
        won first prize
        heard that everybody was rescued
        sung at a birthday party""",
    "happy:0.6+surprised:0.4": """walked into a surprise birthday party
        found out that she is pregnant at last
        been proposed to
        found a hundred dollars in an old coat
        met a favourite movie star on the street
        received an unexpected present
        been told that he has won a free car
        run into an old friend on the other side of the world
        discovered a hidden treasure
        got a call that she won the Nobel prize""",
    "sad": """lost a child
        buried his mother
        been to a funeral
        lost his best friend
        been told that her husband has died
        been left by the love of his life
        had to put the dog to sleep
        said goodbye for ever
        failed everything that mattered
        lost the house in a fire
        received divorce papers
        been told that the illness is terminal
        watched the saddest movie
        been left alone on Christmas
        missed the last chance to say goodbye
        seen her home town in ruins
        been fired after thirty years
        lost everything
        had a miscarriage
        visited a grave
        been dumped
        cried for hours
        heard that grandma passed away
        given up all hope
        lost the championship in the last second
        been told that nobody wants him
        packed up the belongings of her late father
        read an old letter from a dead friend
        sent his son to war""",
    "angry": """been insulted in front of everybody
        had his car stolen
        been lied to again
        caught a thief in the house
        been cheated out of a fortune
        found a scratch on the new car
        been cut off in traffic
        had an argument with the boss
        seen somebody kick a dog
        been betrayed by a business partner
        been falsely accused
        been punched
        discovered that her husband cheated on her
        been kept waiting for three hours
        had his wallet stolen
        been spat at by a stranger
        been told to shut up
        lost a game because the referee cheated
        been denied a refund
        seen the neighbours tear down the fence
        been stabbed in the back by a friend
        been woken by the neighbours' party for the third night
        been treated unfairly
        received an unjust fine
        had her work stolen by a colleague
        broken the computer out of rage
        shouted at the children
        been called a liar""",
    "fearful": """seen a ghost
        heard footsteps in the dark house
        been chased by a bear
        looked down from a cliff
        found a snake in the bed
        been held at gunpoint
        heard a burglar downstairs
        been lost in the woods at night
        been trapped in a burning building
        felt the plane fall
        seen a shark next to the boat
        been followed through an empty street
        woken from a nightmare
        heard the bomb alarm
        felt an earthquake
        been locked in a cellar with a killer
        seen the tsunami coming
        been told that someone wants to kill him
        lost the brakes on a mountain road
        been attacked by wolves
        heard a scream in the night
        seen a monster under the bed
        been kidnapped
        nearly drowned
        watched a horror movie alone
        been called to the dentist for surgery""",
    "fearful:0.7": """been told to wait for the test results
        stepped on stage for the first time
        lost sight of the child in the crowd
        received a letter from the court
        been asked to speak before a thousand people
        realised that the exam is tomorrow
        heard strange noises from the attic""",
    "surprised": """seen an elephant in the living room
        seen a magician make a car disappear
        discovered that the earth is flat after all
        learned that she has a twin sister
        been told that aliens have landed
        opened the door and found the president there
        heard his dog speak
        seen someone rise from the dead
        found out that it was all a dream
        heard something completely unbelievable
        seen the impossible happen
        been splashed with cold water
        watched a plot twist nobody expected
        heard a sudden loud bang
        learned a huge secret
        found a stranger in the kitchen
        realised that it is already midnight
        been told that the concert starts in one minute
        seen the price of the painting
        found the lost ring inside a fish
        seen a dead man walking
        been told that he has a grown-up daughter""",
    "surprised:0.6+sad:0.4": """learned out of nowhere that her friend has died
        been told without warning that he is fired
        found the house empty and the family gone""",
    "disgusted": """stepped in dog poo
        smelled rotten eggs
        found a hair in the soup
        eaten a worm
        seen somebody vomit
        found maggots in the meat
        drunk spoiled milk
        opened a fridge full of mould
        seen a rat in the kitchen of the restaurant
        touched something slimy
        bitten into a rotten apple
        smelled an open sewer
        seen a filthy toilet
        swallowed a fly
        found a cockroach in the salad
        cleaned up vomit
        seen an infected wound full of pus
        smelled somebody's dirty socks
        been served raw liver
        seen someone pick his nose and eat it
        put a hand into rotting garbage
        kissed a slug""",
    "contempt": """heard a stupid excuse from a loser
        listened to an idiot boasting
        watched an amateur fail at something easy
        been asked a stupid question by a fool
        seen a coward run away
        heard a politician lie so badly
        met someone far below his station
        beaten a pathetic opponent without effort
        read a ridiculous essay
        been offered a cheap bribe
        looked down on the peasants
        heard a feeble apology he does not believe
        seen a rival embarrass himself
        dismissed a worthless argument
        listened to the lies of a cheat""",
    "neutral": """read the shopping list
        read out the weather report
        listened to the train timetable
        looked at a blank wall
        waited for the bus
        answered a routine question
        counted to ten
        spelled out a telephone number
        read the instructions for the washing machine
        checked the time
        filled in a form
        stood in a queue
        recited the alphabet
        sorted the mail
        opened the calendar""",
}

# Ways of saying that somebody looks like an emotion; {} is an adjective or an adverb phrase.
FACES: dict[str, str] = {
    "happy": """the corners of her mouth turned up, dimples and laughing eyes, showing all his teeth in a smile,
        eyes sparkling with laughter, a face lit up with joy, smiling from ear to ear, smiles warmly, laughs,
        smile, laugh, grin""",
    "sad": """the corners of his mouth turned down, tears rolling down her cheeks, a trembling lower lip, red
        eyes from crying, hanging her head, a quivering chin, sad puppy eyes, cries, weeps, a frown of sorrowful
        pain, eyes full of tears""",
    "angry": """a clenched jaw, furrowed brows, knitted eyebrows, flared nostrils, bared teeth, veins standing
        out on his neck, a glare, eyes narrowed in anger, lips pressed together in anger, shouts, yells, screams
        at him, barking orders""",
    "surprised": """eyes wide open, raised brows, a dropped jaw, mouth wide open, an open mouth, gasps, eyebrows
        shot up""",
    "fearful": """eyes wide with terror, shaking hands, a pale and trembling face, screams in terror, hiding
        under the bed, cold sweat, hair standing on end, begging for mercy, wide frightened eyes, recoiling in
        fear""",
    "disgusted": """a wrinkled nose and a raised lip, sticking out her tongue at the taste, turning away from the smell,
        upper lip raised in disgust, covering his nose, spitting out food, a face as if smelling something bad""",
    "contempt": """one corner of the mouth raised, a raised chin and half-closed eyes, looking down his nose, one raised
        eyebrow and a smirk, tutting, a snort of contempt, a mocking half smile""",
    "neutral": """a relaxed face, lips closed, looking straight ahead, a passport photo, a resting expression, a
        calm and even voice""",
}

# Things that are no emotion, besides WordNet's nouns.
UNRELATED = """a red car, the blue sky, green, red, yellow, purple, orange, brown, black, white, grey, pink,
        turquoise, a wooden table, the Eiffel tower, Paris, London, New York, a mountain lake, a bowl of soup, a
        cup of coffee, pizza, spaghetti, a bicycle, a train station, two hundred, 42, seven, http, javascript,
        python code, a database, an integral equation, the stock market, a spreadsheet, Monday, October,
        tomorrow morning, at noon, north, left, a triangle, square, round, vertical, copper, steel, plastic, a
        keyboard, a mobile phone, a laptop, the city of Berlin, a football stadium, a tree, grass, an oak, a
        cat, a dog, a horse, a sparrow, fish, potatoes, tomato salad, bread, a chair, a door, the ceiling, a
        window, kitchen, a hospital, a library, a suspension bridge, the moon, a planet, stars, an atom,
        electricity, a hammer, screwdriver, a shoe, jeans, a green shirt, a hat, a coin, a ten dollar bill, the
        constitution, an election, a tax form, page 12, a map of Europe, a satellite, the weather in Spain,
        snow, rain, wind from the west, geology, chemistry, the number pi, x squared, asdfgh, qwerty, lorem
        ipsum, foo bar, a man with glasses, a woman in a blue dress, an old man, a young woman, a beard, long
        hair, a portrait, a photo, high resolution, 4k, oil painting, a sculpture, anime style, a video of a
        person talking, speech, a microphone, a violin, jazz, a song, the news, an office building, airplane, a
        truck on a highway, a sandy beach, a desert, a glass of water, sugar, a knife, a garden hose, parking
        lot, bus stop, a suitcase, a clock, half past three, kilometres, ten percent, engineering, the
        parliament, football, tennis, chess, a recipe for pancakes, washing machine, a stone wall, brick,
        carpet, paint, a blueprint"""

# Unambiguous words for measuring; neither they nor their stems occur in any labelled training text.
HELD_OUT: dict[str, str] = {
    "happy": "jubilant, elated, gleeful, merry, exultant, blissful, chirpy, mirthful, overjoyed, jolly",
    "sad": "mournful, despondent, dejected, woeful, downcast, tearful, doleful, disconsolate, sorrowful, forlorn",
    "angry": "livid, irate, infuriated, wrathful, incensed, fuming, seething, indignant, vexed",
    "fearful": "petrified, frightened, spooked, timorous, panicky, panic-stricken, apprehensive, alarmed",
    "surprised": """flabbergasted, astounded, dumbfounded, thunderstruck, startled, taken aback, dumbstruck,
        bowled over""",
    "disgusted": "revolted, repulsed, nauseated, sickened, grossed out, repelled, queasy, squeamish",
    "contempt": "disdainful, sneering, derisive, condescending, supercilious, haughty, snooty, mocking",
    "neutral": "impassive, emotionless, deadpan, unemotional, poker-faced, stoic, expressionless, dispassionate",
}

# Pleasantness -1..1 by our own judgement, for measuring (with HELD_OUT, which carries the basics' own).
VALENCE: dict[float, str] = {
    0.95: "on cloud nine, overjoyed, blissful, elated, jubilant, exultant",
    0.85: "gleeful, merry, mirthful, jolly, triumphant, victorious, pleased as punch, adored, cherished",
    0.75: """chirpy, upbeat, perky, sunny, thankful, charmed, smitten, enchanted, invigorated, vivacious,
        fulfilled, zestful""",
    0.65: """playful, carefree, optimistic, inspired, giddy, gratified, captivated, enamored, affectionate,
        heartened, radiant""",
    0.5: "tranquil, serene, refreshed, tender, soothed, cozy",
    0.35: "placid, mellow, consoled, composed",
    0.1: "level-headed, attentive, contemplative, curious, businesslike, awake",
    0.0: """matter-of-fact, reserved, sober, formal, impassive, emotionless, deadpan, unemotional, poker-faced,
        stoic, expressionless, dispassionate, astounded, dumbfounded, flabbergasted, thunderstruck, startled,
        taken aback, dumbstruck, bowled over""",
    -0.15: "pensive, wistful, puzzled, smug, apathetic, pitying, sluggish",
    -0.35: "weary, listless, numb, uneasy, jittery, edgy, miffed, envious, snooty, squeamish",
    -0.5: """grumpy, cranky, snappish, sullen, jealous, homesick, regretful, disillusioned, fed up, exasperated, peeved,
        disgruntled, snide, condescending, supercilious, haughty, apprehensive, queasy, vexed, spooked, timorous""",
    -0.65: """lonesome, weepy, bitter, spiteful, hostile, belligerent, guilty, remorseful, paranoid, disdainful,
        sneering, derisive, mocking, alarmed, panicky, frightened, downcast, indignant, repelled, grossed out,
        bleak, pained, wounded""",
    -0.8: """forlorn, crestfallen, distraught, mortified, humiliated, hopeless, gutted, bereft, vengeful,
        abhorrent, mournful, despondent, dejected, woeful, tearful, doleful, disconsolate, sorrowful, irate,
        infuriated, wrathful, incensed, fuming, seething, livid, petrified, panic-stricken, revolted, repulsed,
        nauseated, sickened""",
    -0.95: "anguished, tormented, wretched, inconsolable, crushed, shattered, agonized",
}

# A second list for measuring, rarer and more idiomatic; written before it was first read, and never tuned on.
CHECK: dict[str, str] = {
    "happy": """exuberant, sprightly, chipper, jocund, chuffed, tickled pink, on top of the world, beatific, rhapsodic,
        gladsome, cock-a-hoop, peppy, lightsome, high-spirited, roaring with laughter, thrilled to bits, in raptures,
        wreathed in smiles, sunny-tempered, zippy""",
    "sad": """dolorous, heavy-hearted, rueful, mopey, elegiac, tear-stained, blubbering, whimpering, cut up, bummed out,
        low-spirited, careworn, choked up, heartsick, in the doldrums, hangdog, forsaken, grief-bent, bowed with grief,
        crying buckets""",
    "angry": """wroth, hacked off, cheesed off, browned off, bent out of shape, tempestuous, splenetic, irascible,
        rankled, tetchy, stroppy, in high dudgeon, fit to be tied, foaming at the mouth, spitting nails,
        hitting the roof, going through the roof, flying off the handle, blowing her top, on the warpath""",
    "fearful": """aquiver, frit, goosebumpy, unnerved, affrighted, daunted, tremulous, quailing, fear-ridden,
        faint-hearted, weak-kneed, in a cold sweat, scared out of her skin, knees knocking, deer in the headlights,
        white-knuckled, cowering, skittish, chicken-hearted, afeard""",
    "surprised": """gobsmacked, caught flat-footed, staggered, blindsided, goggle-eyed, pop-eyed, slack-jawed,
        caught napping, knocked sideways, struck speechless, eyes on stalks, gawping, lost for words, well I never,
        holy cow, thrown for a loop, mouth fell open, caught on the hop, knocked my socks off, goodness gracious""",
    "disgusted": """fetid, rancid, noisome, icked out, skeeved out, mephitic, emetic, bile-raising, unappetizing,
        putrescent, scuzzy, malodorous, festering, green around the gills, turned my stomach, pukey, yechy,
        barf-worthy, green at the gills, sewage""",
    "contempt": """contumelious, toplofty, withering look, lofty, hoity-toity, toffee-nosed, high-handed, uppity,
        vainglorious, swaggering, smart-alecky, egotistical, big-headed, bumptious, overweening, snarky, cocksure,
        cold-shouldering, derogatory, on his high horse""",
    "neutral": """stolid, undemonstrative, impassible, inscrutable, affectless, equable, unflustered, toneless,
        unreactive, staid, bland, unanimated, blank-faced, flat-toned, sedate, noncommittal, unimpassioned,
        colourless, with no inflection, unexpressive of anything""",
}

# Beginnings of words that mark a text as measuring material.
_STEMS = """jubil elat glee merr exult bliss chirp mirth overjoy joll mourn despond deject woe downcast tearful
        dole disconsol sorrow forlorn livid irate infuriat wrath incens fuming fumed seeth indign vex petrif
        fright spook timor panic apprehens alarmed flabbergast astound dumbf thunderst startl aback dumbst
        bowled revolt repuls nause sicken gross repell queas squeam disdain sneer deris condescen supercil
        haught snoot mocking inconsol mockery impassiv emotionless deadpan unemotion poker stoic expressionless
        dispassion cloud-nine triumphant victori pleased-as adored cherish upbeat perk sunny thankful charmed
        smitten enchant invigorat vivaci fulfilled zest playful carefree optimistic inspired giddy gratified
        captivat enamor affectionate heartened radian tranquil seren refreshed tender soothed cozy placid mellow
        consol composed level-headed attentive contemplat curious business awake matter-of reserved sober formal
        pensive wistful puzzled smug apathet pitying slugg wear listless numb uneasy jitter edgy miff envious
        grump crank snapp sullen jealous homesick regretful disillus fed-up exasperat peev disgruntl snide
        lonesome weepy bitter spiteful hostile belliger guilty remorse paranoi bleak pained wounded crestfall
        distraught mortif humiliat hopeless gutted bereft vengeful abhorren anguished torment wretch crushed
        shattered agoniz"""
_KEPT = "wearing wears bittersweet business number numbers woedend tranquilo"


def _stem_pattern() -> re.Pattern[str]:
    stems = "|".join(stem.replace("-", "[- ]") for stem in _STEMS.split())
    kept = "|".join(_KEPT.split())
    check = []
    for word in (word for text in CHECK.values() for word in split(text)):
        stem = re.sub(r"(?:ed|ing|ous|ful|ly|y|s|some|able|al)$", "", word)
        check.append(stem if len(stem) > 4 and word.isalpha() else rf"{word}\b")
    check = "|".join(check).replace("-", "[- ]")
    return re.compile(rf"\b(?!(?:{kept})\b)(?:{stems}|{check})", re.IGNORECASE)


def split(words: str) -> list[str]:
    """Comma-separated phrases, blanks normalised, duplicates removed, order kept."""
    return list(dict.fromkeys(" ".join(word.split()) for word in words.split(",") if word.strip()))


_MEASURING = _stem_pattern()


def lines(text: str) -> list[str]:
    """One phrase a line."""
    return [line.strip() for line in text.splitlines() if line.strip()]


def is_measuring(text: str) -> bool:
    """Whether a text contains a word (or a relative of one) that is kept for measuring."""
    return bool(_MEASURING.search(text))


def label(mixture: str) -> np.ndarray:
    """[9] weights over `CLASSES` (sum 1) of "happy:0.6+surprised:0.4"; what is missing to 1 is neutral."""
    weights = np.zeros(len(CLASSES), np.float32)
    for part in mixture.split("+"):
        name, _, weight = part.partition(":")
        for basic, share in ({name: 1.0} if name in CLASSES else parts(name)).items():
            weights[CLASSES.index(basic)] += share * float(weight or 1)
    weights[0] += max(0.0, 1 - weights.sum())
    return weights / weights.sum()

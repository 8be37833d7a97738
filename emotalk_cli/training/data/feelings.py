"""More emotion words and phrases, labelled by hand: the wide vocabulary beside `lexicon`'s core.

Written as in `lexicon.WORDS`: mixture -> words; what is missing to 1 is neutral. `inflected` adds the regular forms
of adjectives, nouns and verbs.
"""

from __future__ import annotations

import re

MORE: dict[str, str] = {
    "happy": """happiest, happier, joyfully, joyously, cheerily, gladly, delightedly, delightfully,
        ecstatically, stoked to the max, buzzing, buzzing with excitement, hyped, hype, hyped up, psyched,
        psyched up, amped, amped up, fired up and happy, made up, chirping with joy, over the moon with joy,
        on a high, on a roll, high as a kite, flying high, on top form, tickled silly, tickled to bits, like
        a kid in a candy store, like a dog with two tails, happy as Larry, happy as a lark, happy as a
        sandboy, happy as a pig in mud, full of beans and laughing, grinning like a Cheshire cat, grinning
        like an idiot, smiling like an idiot, laughing his head off, laughing her head off, laughing till it
        hurts, rolling on the floor laughing, rofl, lmao, roflmao, lolz, hehe, heehee, hahaha, hahahaha, ha
        ha, tee-hee, yippee, yay me, woot, whoopee, wahoo, huzzah, hip hip hooray, bravo, hallelujah,
        cowabunga, booyah, jackpot, bingo, best day ever, best day of my life, dream come true, a dream come
        true, pure joy, sheer delight, unbridled joy, unalloyed joy, boundless joy, irrepressible joy,
        infectious laughter, belly laugh, hearty laugh, a hearty laugh, chortling, chortle, cackling with
        glad laughter, giggle, giggles, chuckle, titter, tittering, snickering happily, guffaw, laugh out
        loud, in stitches, in fits of laughter, splitting his sides, side-splitting, hilariously, amusing,
        comical, funny, joking, jokey, jocular, jocose, jesting, clowning around, goofy, silly and happy,
        whimsical, frolicking, frolicsome, frisky, gambolling, romping, dancing for joy, dancing with joy,
        skipping with joy, singing for joy, whooping, whooping with joy, cheering crowd, cheers, celebrate,
        celebration, celebrations, celebrant, party mood, partying, festivity, jubilee mood, merrymaker,
        revelling, reveling, revelry, gala, holiday mood, carnival mood, Christmas morning, happy birthday,
        honeymoon bliss, wedding day joy, glorious, glory, gloriously happy, exalted, exaltation,
        exhilarating, uplifted, uplifting, uplift, elevated mood, high spirits, in good spirits, in the best
        of spirits, in fine fettle, in good cheer, of good cheer, good humour, good humor, best of moods,
        fantastically happy, deliriously happy, deliriously joyful, insanely happy, wildly happy, happy
        beyond words, beside himself with joy, beside herself with joy, crazy with joy, mad with joy, drunk
        with joy, lost in joy, floating on air, walking on sunshine, living the dream, feeling fantastic,
        feeling amazing, feeling awesome, feeling wonderful, feeling super, feeling on top of things, super,
        superb, splendid, terrific, fabulous, fab, marvellous mood, magnificent, peachy, peachy keen,
        hunky-dory, groovy, jolly good mood, dandy, swell, spiffing, ace, top-notch mood, smashing, golden,
        magical, magic moment, paradise, heaven, in heaven, nirvana, in clover, ecstasies, raptured,
        transported with delight, thrilling, thrill, thrills, delights, enjoys, enjoying, enjoy, enjoyed,
        savoring, savouring, relishing, relish, basking, basking in happiness, lapping it up, loving it,
        loving every minute, having a ball, having a blast, having a whale of a time, having the time of my
        life, having a great time, having a good time, good times, blast, hoot, a hoot, what fun, a joyful
        face, a joyous cry, a happy sigh, a beaming smile, a radiating smile, a dazzling smile, a toothy
        grin, a wide grin, a big grin, wide smile, huge smile, smiley face, smiles, smiled, smilingly,
        grinned, grins, beamed, beams, beam, laughs, laughed, laughingly happy, giggled, giggling fit,
        chuckled, twinkling eyes, a twinkle in her eye, dimpled smile, bright-eyed, bright-eyed and
        bushy-tailed, rosy-cheeked and laughing, glowing with happiness, glowing with pride, aglow, lit up,
        lighting up, brightened up, perking up, cheered up, cheer up, cheered, heart leaping for joy, heart
        singing, my heart sings, heart full, full heart, light of heart, with a light heart, happy heart,
        happy camper, happy bunny, happy chappy, Pollyanna, lucky devil, lucky as can be, in luck, winner,
        won, we won, victory dance, success, succeed, hooray for us, thrilled beyond belief""",
    "happy:0.8": """joviality, conviviality, glowing, vibrantly alive, full of life, full of energy, full of the
        joys, energised, energized, rejuvenated, revitalized, reinvigorated, pumped up, bouncy, bouncing,
        bubbling over, bubbling, sparkly, sparky, zappy, snappy and bright, zingy, lively mood, spirited and
        bright, breezy, bright and breezy, jazzy, larky, fun-filled, enjoyably, pleasing, pleasurable,
        pleasurably, pleasured, gladdening, well pleased, mighty pleased, pleased with himself and happy,
        proud as a peacock, proud as punch, proudly, bursting with pride, prideful joy, chest swelling with
        pride, house-proud, accomplished, accomplishment, achievement, rewarded, rewarding, winsome,
        adorable, darling, lovable, loveable, beloved, loved, lovingly, lovestruck, love-struck, lovesick
        and happy, head over heels, head over heels in love, madly in love, moonstruck, besotted, crushing
        on someone, crush, sweet on someone, puppy love, doting, doted, dote, cuddly, cuddling, snuggling,
        hugging, hug, kissing, kiss, blowing a kiss, flirting, flirty, flirtation, coquettish, wooing,
        courting, teasing lovingly, winking, wink, a wink, cheeky grin, cheeky smile, roguish grin, rakish,
        saucy, sassy, sass, pert, puckish, elfin, tongue in cheek, tongue-in-cheek, humorous, humour, humor,
        droll, waggish, facetious, bantering, banter, upbeat mood, positive, positivity, positive vibes,
        good vibes, feeling positive, feeling lucky, feeling blessed, feeling loved, feeling alive, feeling
        free, free as a bird, free, freedom, liberated, liberation, unburdened, emancipated, invincible, on
        fire, unstoppable, ready to take on the world, rosy outlook, starry-eyed, dewy-eyed, starry, dreamy
        and happy, enthusiast, enthusiastically, eagerly, eagerness, raring to go, gung-ho, keenly, avid,
        avidly, ardent, ardently, ardor, ardour, fervent, fervently, fervor, fervour, fervid, passion,
        passionately, impassioned, burning with enthusiasm, gusto, with gusto, verve, zip, pizzazz, oomph,
        vigor, vigour, vim, vitality, exuberating, wholehearted, whole-hearted, wholeheartedly, heartily,
        heartfelt, warmly, warmth, warm-hearted, cordial, cordially, cordiality, affable, affability,
        good-hearted, good-tempered, sweet-tempered, sweet-natured, kind-hearted, kindhearted, kindly,
        kindness, friendlier, friendliness, neighborly, neighbourly, chummy, matey, companionable,
        gregarious, outgoing, extroverted, social, hospitable, hospitality, inviting, greeting a friend,
        gratefully, thanks, thank you so much, thanking, many thanks, appreciation, appreciate, indebted and
        grateful, valued, appreciated, respected, recognized, praised, praise, complimented, compliment,
        acclaimed, applauding, applause, applaud, clapping, congratulate, congrats, well done, good job,
        hero's welcome, admired, adulation, adulating, esteem, esteemed, revered, adores, adore, idolizing,
        hero worship, fangirling, fascinated delight, charming smile, bewitched, beguiled, dazzled,
        spellbound with delight, entranced, bewitching, enticing, engrossing, entertaining, entertainment,
        amuse, amuses, diverting, tickle, tickling, tickles my funny bone, pleasantly, pleasantness,
        pleasantry, nicely, sweetly, sweetness, prettily, agreeably, bright-faced, sunny-faced, sunshine,
        rainbow, blossoming, blooming, thriving, flourishing, prospering, prosperous, prosperity, well-off
        and happy, in the pink, fit as a fiddle, healthy and strong, tip-top, A-OK, in good shape, feeling
        strong, strong and proud, mighty, powerful and proud, self-assured, self-assurance, confidently,
        confidence, assured, self-esteem, self-love, ebullience, effervescence, buoyancy, vivid joy,
        festively, jauntily, airy, sprite-like, bonny, bonhomie, joie de vivre, carpe diem, la dolce vita,
        hygge, gemütlich, mudita, naches, ikigai, wanderlust, gigil, cuteness, cute, aww, aww how cute,
        awww, so sweet, heart-melting, melting, melted heart, xoxo, <3""",
    "happy:0.6": """pleasantly relaxed, pleasantly tired after a win, satisfied smile, satisfying,
        satisfactorily, contentedly, contentedness, comfy, comfortably, comforting, comfort, at home with
        the world, at ease with himself, at one with the world, sitting pretty, snugly, mollycoddled,
        pampered, indulged, spoiled rotten, hopefully, hopefulness, optimist, optimistically, looking
        forward, looking forward to it, can't wait, cannot wait, anticipating, anticipatory, expectant,
        expecting good news, expectantly, anticipative, eagerly waiting, aspiring, ambitious, inspiration,
        inspiring, aspiration, motivated to win, motivation, encouragement, cheering on, rooting for,
        relieved sigh, sigh of relief, a sigh of relief, phew that was close, thank God, thank goodness,
        what a relief, relievedly, a weight off my mind, a load off my mind, off the hook, out of the woods,
        safe at last, saved, rescued, out of danger, all clear, reassurance, reassuring, reassuringly,
        comforted child, supported, accepted, belonging, included, understood, connected, bonded,
        befriended, together, togetherness, close to someone, closeness, intimate, intimacy, tenderly
        smiling, tender-hearted smile, sentimental, sentimentality, fondly, fond memory, fond memories,
        pleasantly nostalgic, warm memories, warm and fuzzy, warm fuzzies, cozied up, mother's love,
        motherly, fatherly, maternal, paternal, brotherly, sisterly, avuncular, nurturing, nurture,
        protective love, caringly, caress, caressing, big-hearted, bighearted, magnanimous, charitable,
        charity, altruistic, altruism, philanthropic, generosity, generously, giving, sharing, helpful,
        helpfulness, helping, cooperative spirit, considerate, consideration, thoughtful gift, obliging,
        accommodating, amicable, amicably, amity, peaceable and kind, good-naturedly, good-humoredly,
        good-humouredly, graciously, graciousness, courtly, chivalrous, gallant, gallantly, well-mannered,
        civil smile, politely smiling, polite smile, service smile, smiling politely, customer service
        voice, hostess smile, flight attendant smile, TV presenter smile, benign, benignly, benevolently,
        benevolence, beneficent, merciful, mercy, clement, forgiving smile, forgiveness, lenient, indulgent,
        indulgently, trust, trustingly, believing, faith, faithful, faithfully, loyal, loyalty, devotedly,
        devotion, devout, reverent, reverence, reverential, worshipful, worship, prayerful, spiritual bliss,
        blessing, grace, graceful, gracefully, virtuous, honourable, honorable, noble, dignified pride,
        dignity, worthy, worthwhile, meaningful, purposeful joy, receptive, open, open-hearted, open-minded
        and warm, approachable, easy to please, easily pleased, lightly amused, mildly amused, amused smile,
        bemused smile, half smile, a half smile, little smile, a small smile, small smile, smiling a little,
        hint of a smile, a hint of a smile, trace of a smile, ghost of a smile, Mona Lisa smile, slight
        grin, crooked grin, lopsided grin, sleepy smile, dreamy smile, soft smile, gentle smile, knowing
        smile, secret smile, quiet joy, quiet happiness, calm happiness, calm joy, silent satisfaction,
        inner happiness, inner joy, gently happy, softly happy, mildly happy, fairly happy, moderately
        happy, quite happy, happyish, happy enough, not bad at all, doing well, feeling well, feeling
        better, better, much better, improved, improving, recovering, recovered, on the mend, healed,
        healing, looking up, getting there, promising, favourable, favorable, auspicious, propitious,
        approvingly, approve, admiringly, assenting, nodding happily, agreeing, agreement, consenting,
        concurring, supportively, rapport, harmony, harmoniously, in harmony, in tune, in sync, alive,
        youthful spirit, childlike, childlike wonder, innocent joy, innocence, gentleness, mildness, moonlit
        romance, dulcet, honeyed, sugary""",
    "happy:0.35": """relaxing, relax, relaxedly, restfully, refreshing, at rest and content, easy, easily,
        easy-going, ease, effortless, unhurried, leisurely, leisure, chill, chillaxed, chillax, chilling,
        mellowed out, laid back, loosened up, loose, loose and limber, unwound, unwinding, winding down,
        unstressed, stress-free, worry-free, without a care, not a care in the world, peacefully,
        peacefulness, pacific, pacified, appeased, calmed, calming, soothing voice, lulled, settled,
        grounded, centered, centred, meditative, meditation, meditating, mindfulness, zen, zenlike, yoga
        calm, in the zone, flow, absorbed, engrossed, immersed, rapt, rapt attention, riveted, gripped,
        intent, focused, focussed, engrossed in a book, interesting, interestedly, inquiring, eager to
        learn, studious, alert, alertness, vigilant and ready, ready, readiness, prepared, willing,
        willingly, willingness, game, up for it, amenable, tolerant, tolerance, tolerating, patient,
        patiently, patience, lenience, humble, humbled and grateful, humility, modest, modesty, modestly,
        demure, unassuming, unpretentious, sincere, sincerely, sincerity, genuine, honest, honestly, frank,
        candid, trustworthy, reliable, dependable, responsible, wise, wisdom, sage, sagacious,
        philosophical, thoughtful smile, meditative calm, mild, mildly, mild-mannered, softly spoken,
        soft-spoken, soft, softly, soft-hearted, tenderness, courage, brave, bravery, bravely, courageous,
        courageously, heroic, heroism, valiant, valor, daring, dauntless, fearless, fearlessly, unafraid,
        bold, boldly, boldness, intrepid, plucky, pluck, gutsy, lionhearted, stout-hearted, undaunted,
        adventurous, adventuresome, adventure, resilient, resilience, hardy, strong, strength, sturdy,
        secure feeling, safety, in control, capable, competent, able, empowering, empowerment, autonomous,
        independent, self-sufficient, self-reliant, creative, creativity, imaginative, artistic,
        resourceful, clever, smart, ingenious, bright idea, aha, understanding, comprehending, nodding,
        enlightened, enlightenment, awakened, sober joy, satisfied customer, satiated, sated, full and
        content, well-fed, replete, quenched, fresh, well-rested, recharged, restored, renewed, reborn,
        cleansed, purified, absolved, pardoned, vindicated, justified, validated, affirmed, affirmation,
        confirmed, acknowledged, seen and heard, heard, respected elder, honour, honor, privileged, entitled
        to joy, busy and content, industrious, diligent, productive, efficient, effective, dedicated,
        dedication, committed, commitment, conscientious, persevering, perseverance, steadfast, steadfastly,
        tenacious""",
    "neutral": """neutrally, neutrality of expression, expressionlessly calm, blankness, blankly staring, blank
        stare, a blank stare, staring blankly, staring into space, staring into the distance, vacantly,
        vacancy, vacuous, empty stare, glassy-eyed, glazed over, zoned out, zoning out, spacing out, spacey,
        on autopilot, going through the motions, poker straight, a straight face, keeping a level face,
        level, level tone, even, even tone, even voice, even-handed, even-tempered voice, monotonously,
        toneless, tonelessly, flatly, flat voice, flat tone, flat delivery, lifeless voice, robotically,
        robot voice, machine-like, mechanical voice, automaton, android, computer voice, text to speech,
        zombie-like calm, wooden face, woodenly, stony, stone face, stonily calm, statue, statuesque, like a
        statue, mask-like, masklike, inscrutable, impenetrable, unrevealing, unreadable face,
        undemonstrative, restrained, restraint, self-restraint, self-control, in command of himself,
        controlled, contained, buttoned-up, guarded, unresponsive, unreactive, nonreactive, affectless,
        numbly calm, anaesthetized, anesthetized, sedated, tranquilized, passive, passively, passivity,
        inert, inactive, inanimate, motionless, immobile, still face, stationary, static, resting, rest, at
        rest position, relaxed and neutral, calmly, calmer, calm voice, calm face, calm down, calm as a
        millpond, cool as a cucumber, cool, coolly, coolness, coolheaded, cool and calm, clear-headed,
        clearheaded, collectedly, equable, equably, equanimous, sedate, sedately, staid, temperate,
        moderate, measured, measured tone, nonchalantly, nonchalance, insouciant, insouciance, blasé, blase,
        uncaring, unmoving, don't care, doesn't care, couldn't care less, could not care less,
        indifferently, uninterest, incurious, dispassion, detachedly, dissociated, disengaged, disconnected,
        distant, distantly, remote, removed, withdrawn and calm, uncommitted, noncommittal, non-committal,
        undecided, neither here nor there, neither good nor bad, on the fence, ambivalence, impartially,
        impartiality, unbiased, unprejudiced, objective tone, objectively, objectivity, factually,
        informative, informational, instructive, instructional, explanatory, explaining, describing,
        narrating, narrator, narration, news anchor, newscaster, news presenter, weather forecast, presenter
        voice, announcer, announcing, documentary narrator, audiobook, lecture, lecturing, lecturer, teacher
        explaining, stating, statement, plain statement, plainly, plain-spoken, ordinary voice, normal
        voice, normally, regular, regularly, everyday, common, commonplace, typical, standard face, default
        face, baseline, middle of the road, middling, mediocre, tolerable, passable, acceptable, adequate,
        alright, okay I guess, fine I guess, I'm fine, I am fine, it's fine, all good, no comment, nothing
        much, whatever happens, as usual, business as usual, nothing to report, unremarkable, unexceptional,
        undistinguished, uneventful, routine, routinely, same old same old, humdrum, workaday, prosaic,
        mundane, clinical, clinically, doctor's voice, bureaucratic, official, officially, administrative,
        technical, methodical, systematic, analytical, logical, logically, rational thinking, rationally,
        reasonable, reasonably, pragmatic, practical, realistic, unsentimental, unromantic, sensible,
        sensibly, composed face, settled face, unagitated, unworried face, undaunted calm, unflustered,
        unshaken, unshakable, unstirred, unimpassioned, unenthused but fine, unmotivated by feeling,
        unblinking, untouched, imperturbably, phlegmatically, stolid, stolidly, stoical, impassively still,
        taciturn, reticent, reticence, reserve of manner, laconic, terse, silence, silently, quietly,
        quietness, hushed, whispering, whisper, murmuring, listens, listening carefully, hearing, watching,
        observing, looking, looking on, gazing, gaze, seeing, waiting for the bus, sitting, standing,
        walking, reading, typing, counting, counts, speaking, talking, saying, says, asking, answering,
        replying, chatting, conversation, dialogue, on the phone, breathing, meditating in silence,
        sleeping, asleep, dormant, unconscious, eyes closed in rest, ID photo, driver's licence photo, mug
        shot face, resting, unmarked, none, n/a, null, no feeling, no feelings at all, zero emotion, zero
        emotions, no reaction, without reaction, showing nothing, feel nothing, feels nothing, feeling
        nothing, I feel nothing, void of emotion, devoid of emotion, devoid of feeling, drained of emotion,
        lack of emotion, absence of emotion, absence of feeling, unfelt, formal tone, formal speech,
        official statement, legal text, contract, polite distance, correct, correctly, cold and distant,
        clinical detachment, professional detachment, professionalism, professionally,""",
    "sad:0.3": """seriously, sternly thoughtful, solemnly, gravely, graveness, gravity, earnestly, earnestness,
        soberly, thoughtfully, thinking hard, thinking deeply, deep in thought, pondering, ponder, musing,
        brooding, brood, broody, ruminating, rumination, ruminative, introspective, introspection,
        introverted, inward-looking, dreamy, daydreaming, faraway look, far away, faraway, absent, absently,
        absentminded, distracted, distraction, inattentive, unfocused, tiredly, tiredness, dead tired,
        dog-tired, bone-tired, sleepily, sleepiness, sleepy head, drowsily, drowsiness, dozy, yawning, yawn,
        half asleep, barely awake, nodding off, heavy-lidded, bleary-eyed, groggy, hungover, jet-lagged,
        sleep-deprived, insomniac, beat, dead beat, bushed, pooped, knackered, shattered and tired, all in,
        zonked, wiped out, spent, run-down, run down, ragged, flagging, fading, droopy, drooping, wilting,
        wan, haggard, wasted, enervated, enervation, debilitated, depleted, sapped, overtired, overworked
        and tired, exhaustedly, exhaustion, exhausting, out of energy, out of steam, low energy, lifeless,
        languid, languor, languorous, lethargically, lethargy, lassitude, torpid, torpor, inertia, indolent,
        lazy, laziness, idleness, slothful, sloth, boring, boredly, bored stiff, bored to death, bored to
        tears, bored out of my mind, bored silly, tedium, tedious, ennui, monotony, dreary routine, dulled,
        dullness, drab, dreariness, jaded, blah, unstimulated, unamused, uninspired, uninspiring,
        unenthused, unmotivated, demotivated, unexcited face, lackluster, lacklustre, half-hearted,
        halfhearted, lukewarm, tepid, disinclined, reluctant, reluctantly, reluctance, grudging, grudgingly,
        unwilling, unwillingly, shyly, bashfully, bashfulness, coy, self-effacing, sheepish, sheepishly,
        sheepishness, tongue-tied, quiet and shy, wallflower, diffident, diffidence, unassertive, retiring,
        humbled, meekly, deferential, obedient, obediently, docile, subdued, subduedly, muted, chastened,
        downtempo, autumnal, rainy day mood, grey mood, gray day, Monday morning, Sunday evening feeling,
        weltschmerz, world-weary, worldly-wise, resignedly, stoically sad, philosophical about the loss,
        accepting a loss, missing someone, I miss you, missing you, miss you, homeward longing, craving,
        hankering, thirsting, hungering, hungry, hunger, thirsty, craving attention, concern, concerned
        look, caring concern, troubled thought, concernedly, mixed feelings, conflicted, torn, in two minds,
        not in the mood, not feeling it, a bit down, a bit low, a little down, out of sorts, under the
        weather, off color, not myself, not feeling like myself, meh and tired, flat and tired, tired of it
        all, over it""",
    "sad": """sadder, saddest, saddening, sadden, saddens, depressing, depressingly, depressive, deeply
        depressed, clinically depressed, miserably, heartbreaking, heartbreakingly, heart-breaking, broken
        heart, broken hearted, broken-hearted, heart-broken, heart in pieces, heavy heart, with a heavy
        heart, aching heart, heart aching, achy, aching, ache, grief, griefs, grievous, grievously, grieve,
        grieves, grieved, mourner, gloomily, gloominess, gloomier, doom and gloom, doom-laden, glumness,
        tears, in floods of tears, flood of tears, close to tears, near tears, tears streaming down, eyes
        brimming with tears, brimming with tears, eyes welling up, welling up, welled up, wet eyes, watery
        eyes, red-eyed, puffy-eyed, red-rimmed eyes, bitter tears, silent tears, single tear, a single tear,
        a tear rolling down, shedding tears, shed a tear, cried, cries his eyes out, crying her eyes out,
        cry baby, crybaby, crying like a baby, ugly crying, crying inside, crying on the inside, crying
        softly, sobs, sobbed, sobbingly, weeps, wept, weeping willow, bawl, bawled, wail, wails, wailed,
        keening, howling in pain, whimper of grief, whine of grief, moaning, moan, groaning, groan of
        despair, sniffle, sniffing back tears, snivelling, sniveling, blub, boo hoo, boohoo, waaah, :'(,
        T_T, ;_;, QQ, sadface, sad face emoji, lament, laments, lamentation, lamentable, dirge, elegy,
        requiem, funeral, at a funeral, funeral face, graveside, widow in black, widowed, orphaned, orphan,
        bereaved parent, mourning, deathly sad, sad as a wet week, melancholia, melancholically, blues, feel
        blue, feeling low, feeling down, feel down, feels down, so down, feeling sorry for herself, in low
        spirits, low mood, lowness, lowly mood, down at heart, down in the mouth, down on his luck, in the
        dumps, in the depths of despair, depths of despair, rock bottom, at rock bottom, hit rock bottom,
        slough of despond, black dog, black mood of grief, dark place, in a dark place, darkness inside,
        dark night of the soul, bleakly, despairingly, despair, despaired, desperation and tears, hope is
        gone, lost all hope, without hope, no hope left, nothing left to live for, no reason to live, want
        to die, wants to die, I want to cry, wanting to cry, feel like crying, feels like crying, could cry,
        about to cry, trying not to cry, holding back tears, fighting back tears, choking back tears, voice
        breaking, voice cracking with grief, a catch in her voice, quivering lip, quivering lips, lip
        trembling, trembling lip, pouted lip, downturned mouth, mouth turned down, frowny face, sad frown,
        sad eyes, sad look, sad expression, sad smile fading, dispirit, dispiriting, disheartening,
        demoralized, demoralised, demoralizing, deflated, deflating, crumpled, crumbling, collapsed, broken
        down, breaking down, broke down crying, falling apart, fell apart, in pieces, torn apart, torn up,
        ripped apart, in ruins, ruined, destroyed, devastating, devastate, heart torn out, gut-wrenching,
        gut wrenching, heart-wrenching, heartrending, soul-crushing, soul-destroying, painful, painfully
        sad, pain inside, emotional pain, hurting, hurt feelings, hurtful, wound, stung, cut to the quick,
        sorely hurt, suffer, suffers, suffered, sufferer, misfortune, unfortunate, unlucky, ill-fated,
        ill-starred, star-crossed, doomed, cursed, tragically, tragic hero, tragical, calamitous, woes,
        miserable wretch, poor thing, poor soul, pitifully, piteous, piteously, pathos, pathetically sad,
        dysthymic, anhedonia, anhedonic, pleasureless, unhappier, unhappiest, unjoyful, mirthless,
        cheerlessly, sunless, joylessly, uncheerful, sombrely, somberly, somberness, sombre mood, dismally,
        dour and sad, wretchedness, sorrily, sorriness, so sorry, I am so sorry, sorry for your loss,
        condolence, condolences, commiserating, commiseration, sad news, saddest day, worst day ever, worst
        day of my life, lost love, lovelorn, love-lorn, lovesick, unrequited, unrequited love, jilted,
        dumped, ditched, divorced, heart shattered, left behind, left alone, all alone, alone, aloneness,
        alone in the world, lonely as a cloud, lonelier, lonely heart, friendless, outcast, unloved child,
        abandonment, abandoned child, deserted, desertion, discarded, thrown away, cast aside, cast off,
        castaway, homesickly, saudade, dukkha, hüzün, toska, han, mono no aware, tristesse, lacrimose,
        mopes, moped, mopingly, sulks in sorrow, sad sack, sad puppy, Eeyore, gloomy Gus, killjoy sadness,
        party over, rain on my parade, heartless world, emo, emo kid, goth sadness, doomer""",
    "sad:0.75": """disappointedly, disappointing, disappoint, disappointments, disappoints, let-down, letdown, a
        letdown, anticlimax, disenchanted, disenchantment, dissatisfied and low, thwarted, foiled, failing,
        failed, fail, failure, feeling like a failure, loser, lost, losing, loss, at a loss for hope,
        beaten, defeat, defeatist, dashed hopes, hopes dashed, shattered dreams, broken dreams, washed up,
        washed out, has-been, ashamedly, shameful, shamefaced, shame-faced, shamed, disgraced, disgrace,
        dishonored, dishonoured, ignominious, red-faced, blushing with shame, crimson with shame, hanging
        his head, hangs her head, head hung low, looking at the floor in shame, hide my face, embarrassing,
        embarrassedly, cringing with shame, abashed, abashment, chagrined, chagrin, discomfited,
        discomfiture, self-reproach, self-blame, self-loathing and low, self-hatred and tears, guilt-ridden,
        guilt ridden, guilt-stricken, conscience-stricken, conscience stricken, culpable, blameworthy, to
        blame, at fault, compunction, contrition, contritely, penance, penitently, repentance, repent,
        atoning, atonement, apologizing, apology, apologetically, apologise, apologize, my apologies,
        forgive me, please forgive me, I regret it, regrets, regretting, rue, rued, wishing it undone, if
        only, what have I done, nostalgically, reminiscing sadly, old times lost, wist, longingly, long for
        home, yearn, yearningly, pine, pined, ached for, missing home, far from home, inferiority,
        inadequacy, inadequately, worthlessness, good for nothing, useless, uselessness, not good enough,
        never good enough, small, feeling small, belittled, put down, demeaned, diminished, disparaged,
        degraded, degrading, dehumanized, disrespected, slighted, snubbed, spurned, rebuffed, refused,
        turned down, brushed off, overlooked, unappreciated, undervalued, unvalued, unnoticed, unseen,
        invisible, unheard, unimportant, insignificant, insignificance, left out, excluded from the group,
        exclusion, ostracized, ostracised, shunned, unpopular, unlovable, unlikable, ugly, feeling ugly,
        unattractive, isolated and sad, isolation, estranged, estrangement, alienated, alienation,
        separated, separation, solitary, solitude, forlornly alone, lonesomeness, reclusive, withdrawn,
        withdrawal, detached and sad, hollow, hollowness, empty, emptiness, void inside, empty inside, dead
        inside, numb with grief, defeatedly, surrendering, surrender, giving up, gave up, given up, throwing
        in the towel, resigned sigh, sigh, sighing, sighs, sighed, heavy sigh, a heavy sigh, deep sigh,
        discouraging, discouragingly, pessimist, pessimistically, negative, negativity, negative thoughts,
        fatalistic, fatalism, defeatism, cynically sad, unhopeful, vain hope, futile, futility, pointless,
        pointlessness, meaningless, meaninglessness, purposeless, aimless, adrift, lost soul, rudderless,
        directionless, stuck, in a rut, stagnant, burdened, burden, overburdened, weighed down, heavy,
        heaviness, laden, oppressed, oppression, crushed spirit, helplessly, powerlessness, powerlessly,
        impotent, incapable, weak, weakness, weakly, feeble, frailty, fragile, fragility, brittle, delicate,
        vulnerability, defenseless, defenceless, unprotected, victim, victimized, victimised, persecuted,
        downtrodden, put-upon, used, taken advantage of, exploited, mistreated, ill-treated, abused,
        neglect, neglectful pain, deprivation, impoverished, poor, destitute, needy, neediness, clingy,
        dependent, begging, beseeching, imploring, imploringly, pleading, pleadingly, plead, entreating,
        puppy-dog eyes, puppy eyes, doe-eyed and sad, sympathetically, sympathise, sympathize, feeling for
        someone, feeling sorry, feel sorry for him, pity for the poor, compassionate tears, empathic,
        empathetic, moved, moving, emotional, getting emotional, teary smile, poignant, poignancy, touching,
        touched by sorrow, sickly, ill, sick, sickness, poorly, ailing, feverish, infirm, bedridden, dying,
        dying man, deathbed, injured, aching all over, sore, soreness, cramp, headache, migraine, toothache,
        stomachache, sulk, sulkily, sulkiness, pout, pouts, pouted, dour, dourly, doleful hound, hapless,
        haplessly, luckless, long face, a long face, unsmiling""",
    "angry": """angrier, angriest, angers, angering, infuriating, infuriation, furiousness, rages, raged, in a
        rage, in a towering rage, towering rage, in a blind rage, blind rage, blind with rage, blind fury,
        white-hot rage, white with rage, red with rage, purple with rage, shaking with rage, trembling with
        rage, quivering with rage, bursting with rage, burning rage, cold rage, cold fury, cold anger, quiet
        rage, quiet fury, silent fury, simmering rage, simmering, simmering anger, smoldering, smouldering,
        smoldering anger, pent-up anger, pent-up rage, pent up frustration and rage, suppressed rage,
        righteous anger, righteous fury, boiling over, boiling mad, blood boiling, my blood is boiling,
        makes my blood boil, hot with anger, hot-headed, hotheaded, hothead, hot-blooded rage, fiery temper,
        fiery, fired up and angry, on the warpath, out for blood, bloodthirst, baying for blood, thirsting
        for revenge, revengeful, avenging, avenger, retaliating, retaliation, payback, getting even,
        vendetta, blood feud, outraging, outrageously angry, outragedly, enraging, enrages, madder, maddest,
        maddening, mad as hell, mad as a hornet, mad as a wet hen, madly angry, mad as a bull, fit to be
        tied, foaming at the mouth, frothing at the mouth, spitting mad, spitting feathers, spitting nails,
        spitting blood, breathing fire, hitting the roof, hit the roof, hit the ceiling, flying off the
        handle, flew off the handle, flying into a rage, flew into a rage, losing her cool, lost his temper,
        lose my temper, lost it, lost his rag, lost the plot, losing my patience with you, at the end of my
        tether and yelling, blow up, blowing up, blew up, blowing his stack, blow a gasket, blew a gasket,
        blew his top, blowing his top, exploding, exploding with anger, explosive, explosive temper, about
        to explode, erupting, volcanic, volcanic temper, going ballistic, going postal, going mental, went
        mental, throwing a fit, throwing a tantrum, temper tantrum, hissy fit, throwing his toys, stamping
        his feet, stomping, stomping off, slamming the door, storming off, storming out, stormy, stormy
        temper, thunderous, thundering, black as thunder, a face like thunder, thunder-faced, raging bull,
        raging storm, rampage, rampaging, on the rampage, running amok, amok, wrath of God, hell-bent,
        hellish fury, fury unleashed, ferociously, ferocity, fiercely, fierceness, savagely, savagery,
        vicious, viciously, viciousness, brutal, brutally, violence, violently, aggressively, aggressor,
        assaulting, attacking, attack, attack mode, fighting, fight, fight me, ready to fight, fighting mad,
        spoiling for a fight, itching for a fight, picking a fight, fists clenched, clenched fist, shaking
        his fist, fist shaking, pounding the table, banging his fist, gnashing teeth, grinding his teeth,
        grits her teeth, gritted teeth, through gritted teeth, bared his teeth, baring teeth, snarl, snarls,
        snarled, growl, growls, growled, grr, grrr, argh, aargh, gah, arrgh, grumbling with rage, roaring,
        roar, roared, bellowing, bellow, bellowed, barking, barked at, yell, yells, yelled, yelling at you,
        shout, shouted, shouty, shouting match, screaming with rage, screaming with fury, screaming at each
        other, shrieking with rage, hollering, swearing, cursing, cussing, effing and blinding, foul-mouthed
        rage, for God's sake, for fuck's sake, wtf is wrong with you, what the hell, go to hell, get out,
        get lost, piss off, leave me alone, bastard, asshole, idiot driver, I'll kill you, I will kill him,
        I could kill you, enough is enough, that's enough, I've had enough, how could you, stop it right
        now, you'll pay for this, irately, irefully, irascible, irascibility, splenetic, spleen, venting his
        spleen, venting, vent, ranting, rant, rants, raving with fury, raving, tirade, diatribe, harangue,
        haranguing, berating, berate, upbraiding, scold, scolds, chewing out, chew out, telling off,
        dressing down, reprimand, lambasting, lashing out, lash out, ripping into, tearing into, jumping
        down his throat, at each other's throats, quarrel, quarreling, quarrelling, arguing, argue,
        argument, heated argument, heated, heated up, row, feud, feuding, at daggers drawn, hostilely,
        warlike, warmonger, warring, militant, bellicose, bellicosity, truculent, truculence, truculently,
        combativeness, pugnacity, fractious, scrappy, feisty and angry, glare, glares, glared, glaring at
        you, glower, glowers, scowled, scowls, death glare, dagger eyes, looking daggers, if looks could
        kill, steely glare, angry eyes, angry look, angry stare, angry face, angry frown, angry brows, brows
        knitted in anger, brow furrowed in anger, angry glare, angry shouting, angry voice, anger issues,
        anger management, angrily shouting, cross with you, very cross, incandescent, incandescent with
        rage, seeing scarlet, red mist, the red mist, bull-headed rage, bull in a red rage, Hulk smash, rage
        quit, ragequit, salty rage, triggered, pissed-off, teed off, p.o.'d, cheesed, ripshit, pissy, raging
        mad, aggro, rageful, rageaholic, ropeable, hopping with anger, stabby, murderously, homicidal,
        homicidal rage, killing mood, lynch mob, mob fury, angry mob, riotous anger, rebel fury,""",
    "angry:0.75": """annoying, annoyingly, annoys, annoyedly, irritating, irritatingly, irritable, irritably,
        irritability, irritate, irritates, irks, irksome, frustrating, frustratedly, frustrate, frustrates,
        aggravating, aggravation, bugged, bugging me, bugs me, getting on my nerves, gets on my nerves, gets
        my goat, getting my goat, gets under my skin, driving me mad, driving me crazy, driving me up the
        wall, doing my head in, does my head in, pushing my buttons, rubbed the wrong way, rubs me the wrong
        way, ruffled, hacked off, narked, narky, shirty, stroppy, strop, in a strop, ratty, tetchy,
        tetchily, crotchety, cranky-pants, crabbily, crabbed, cross, crossly, crossness, peevish, peevishly,
        pettish, petulantly, petulance, querulous, waspish, waspishly, prickly, thorny, short, short with
        me, short fuse, on a short fuse, snapping at people, snappy, snapped at, sharp tone, sharply, tart,
        tartly, acerbic, acidly, acrimonious, acrimony, bilious temper, liverish, dyspeptic, sour, sourly,
        soured, sour-faced, sourpuss, sour grapes, embittered, resents, resenting, resentfully, begrudging,
        begrudge, bears a grudge, holding a grudge, grudge, chip on his shoulder, chip on her shoulder, bad
        blood, ill will, ill-will, animus, antipathy, antagonism, antagonist, unfriendly, unfriendliness,
        inimical, adversarial, opposed, opposing, defiantly, mutinous, mutiny, rebelliously, insubordinate,
        recalcitrant, refractory, intractable, obstinate, obstinacy, stubbornly, stubbornness, mulish,
        pigheaded, headstrong, unyielding, uncompromising, unforgiving, unforgiveness, implacable,
        merciless, pitiless, remorseless, ruthlessly, cruelly, cruelty, sadistic, sadism, callous,
        heartless, hard-hearted, cold-hearted, coldhearted, evilly, evilness, wickedly, wickedness,
        villainous, villain, devilish, diabolical, demonic, fiendish, malevolently, malevolence,
        maliciously, malignant, baleful, balefully, balefulness, threateningly, threaten, threatens,
        menacingly, menace, intimidating, domineering, bullying tone, bully, tyrannical, despotic,
        dictatorial, authoritarian, commanding, commandingly, ordering, barked orders, drill sergeant,
        sergeant major, sternly, sternness, strictly, strictness, harshly, harshness, severely, severity,
        stringent, unkind, unkindly, meanly, meanness, mean-spirited, nastily, nastiness, rudely, rudeness,
        impolite, uncivil, churlish, boorish, surliness, curtly, curtness, brusquely, gruffly, gruffness,
        blunt, bluntly, abrasive, abrasively, impatiently, out of patience, running out of patience,
        patience wearing thin, at the end of her rope, at the end of my rope, had it up to here, sick and
        tired of this, sick of this, sick of it, sick to death of it, enough of this, impatient sigh, huff,
        huffily, huffing and puffing, in high dudgeon, dudgeon, umbrage, taking umbrage, took umbrage,
        affronted, affront, offense taken, insult, insultedly, slap in the face, outraged honor, wronged,
        injustice, unjustly treated, treated unfairly, unfair, it's not fair, not fair, cheated on,
        double-crossed, deceived, lied to, betrayal, betrayed by a friend, backstabbed, stabbed in the back,
        robbed, ripped off, scammed, violated, invaded, provoked into anger, provocation, provocative,
        needled, goaded, baited, rankled, rankling, galling, stewing, stew, fretting and fuming, chafing,
        chafed, brooding anger, dark look, black look, dirty look, a dirty look, hard stare, hard look,
        steely, steely-eyed, flinty, cold stare, icy, icy stare, icily, frosty, frostily, frosty reception,
        chilly reception, tight-lipped, lips pursed, pursed lips, jaw set, jaw clenched, jaw tightened,
        nostrils flaring, flaring nostrils, brow lowered, lowered brows, lowering, furrowed brow in anger,
        furrowing his brow angrily, frowns, frowned, frowny and cross, disapprovingly, disapproves,
        disapprove, tut-tut, displeasing, displease, discontented, discontent, discontentment, malcontent,
        dissatisfying, unsatisfied, ungratified, grievance, grouse, grousing, griping, gripe, grumbling,
        grumble, grouch, grouchily, grumbler, complaining, complaint, complain, whinging, whingeing,
        bellyaching, kvetching, moaning about everything, protesting, protest, objecting, objection,
        indignation meeting, censuring, censure, condemning, condemnation, condemn, denouncing, blaming,
        blame, accuse, accusation, accusatively, criticizing, criticising, fault-finding, nitpicking,
        nagging, nag, hectoring, scoldingly, chiding, admonishing, reproving, reproof, reproach,
        reproachfully, rebuking, rebuke, moodily, moodiness, temperamental, volatile, volatility,
        ill-humored, ill-humoured, ill humor, bad-humoured, bad mood, foul mood, in a foul mood, black mood,
        dark mood, got out of bed on the wrong side, woke up on the wrong side of the bed, like a bear with
        a sore head, hangry, roid rage, PMSing, overwrought and snappish, stressed and snappy, envy and
        anger, green with envy, green-eyed monster, covetous, possessive, territorial, jealously guarding,
        competitive glare, cutthroat""",
    "angry:0.45": """determinedly, determinedness, dogged, doggedly, doggedness, resolutely, resolve, resolved,
        iron-willed, strong-willed, willful, wilful, single-minded, unwavering, unflinching, grimly,
        grimness, grim-faced, grim determination, steeling himself, teeth set, hard, hardened, hard-nosed,
        hard-bitten, tough guy, toughness, macho, badass, fierce concentration, intense, intensely,
        intensity, concentrating, concentration, focused glare, squinting hard, effort, straining hard,
        exertion, struggling, struggle, competitive spirit, competing, driven, pushy, forceful, forcefully,
        assertive, assertively, assertiveness, insistent, insistently, insisting, urgent, urgently, urgency,
        vehement, vehemently, vehemence, emphatic, emphatically, militantly, zealotry, fanatic, fanatical,
        stern teacher, strict father, no-nonsense, humorless, humourless, austere, austerely, austerity,
        forbidding, imposing, challenging, challenge, daring you, contentious, controversial, opinionated,
        dogmatic, skeptical scowl, suspicious scowl, discontentedly""",
    "fearful": """fearfulness, fears, feared, fearing, fearsome thoughts, afraid of the dark, afraid for her
        life, afraid to look, scarily, scare, scares, scaring, scared silly, scared to death, scared
        shitless, scared witless, scaredly, scared rabbit, scared out of my mind, scared out of her skin,
        scared for my life, terror-struck, terrors, terrify, terrifyingly, terrifies, terrorised, in terror,
        sheer terror, utter terror, mortal terror, mortal fear, mortal dread, abject fear, abject terror,
        naked fear, stark terror, blind panic, blind terror, night terrors, nightmares, horrors, horrify,
        horrific, horrifically, dreads, dreaded, dreadful fear, existential dread, impending doom, sense of
        doom, feeling of doom, doomsday, apocalypse, affrighted, afeard, aghast with fear, bone-chilling,
        spine-chilling, spine chilling, blood-curdling, blood running cold, blood ran cold, my blood ran
        cold, chilling, shivering with fear, shivering, shiver, shivers, shivers down my spine, a shiver
        down her spine, shuddering, shudder, shudders, quaking in his boots, quaking in her boots, quaked,
        quake, quailing, quail, cowering, cower, cowers, cowered, cowering in a corner, cowed, cringing in
        fear, shrinking back, shrinking away, flinching, flinch, flinched, wincing in fear, trembling like a
        leaf, trembling with fear, trembles, tremble, trembled, tremulous, tremulously, trembly, knees
        knocking, weak at the knees with fear, weak-kneed, teeth chattering, chattering teeth, shaking in
        his boots, shaking in my shoes, shaking with fear, frozen in fear, frozen to the spot, frozen in
        terror, froze, rooted to the spot, paralyzed, paralysed, paralyzed with fear, paralyzed by fear,
        paralysing fear, deer in the headlights, like a deer in headlights, like a rabbit in the headlights,
        cold feet, breaking into a cold sweat, in a cold sweat, sweating bullets, sweaty palms, heart
        pounding, heart racing, pounding heart, racing heart, heart in my throat, heart in his mouth, heart
        stopped, heart skipped in fear, hair on end, hair-raisingly, goosebumps of fear, gooseflesh, pale
        with fear, white as a ghost, ashen, ashen-faced, blanching, blanched, drained of blood, bug-eyed
        with terror, wild-eyed with fear, wild-eyed, wide-eyed with fear, eyes like saucers in fear, terror
        in her eyes, fear in his eyes, look of terror, look of horror, look of fear, scream for help,
        screaming for help, screaming in fear, screams, screamed in fear, shriek, shrieking, shrieked,
        shriek of terror, crying for help, cry for help, help, help help, somebody help me, save me, please
        don't hurt me, don't hurt me, don't kill me, please don't kill me, no please no, oh no please, run
        for your life, run, running away, fleeing, flee, fled, escape, escaping danger, on the run, hunted
        animal, hunted like prey, being chased, being followed, stalked, prey, threatened with death,
        threatened by danger, imperiled, endangered, peril, in peril, perilous, danger, dangerous, mortal
        danger, life-threatening, menacing shadow, unsafe, insecurely frightened, cowardlike, cowardly lion,
        coward, cowards, craven, cravenly, chicken, chickenhearted, chicken-hearted, chickening out,
        lily-livered, yellow-bellied, fainthearted, faint-hearted, faint of heart, gutless, spineless,
        wimpy, mousy, mousey, wussy, pusillanimous, fear of death, fear of dying, fear of heights, fear of
        flying, fear of spiders, fear of the unknown, phobias, arachnophobia, claustrophobia,
        claustrophobic, agoraphobia, agoraphobic, acrophobia, xenophobia and fear, stage fear, spook house,
        spooky, spookily, eerie, eerily, eeriness, creepy, creepily, creeps, gives me the creeps, the
        creeps, heebie-jeebies, the heebie-jeebies, willies, the willies, the collywobbles, haunting,
        haunted house, ghostly, ghost, monster, zombies coming, hysterical, hysterically, in hysterics,
        hysterical screaming, horror movie, horror film, jump scare, boo, eek, aah, aaah, aaaah, eeek,
        yikes, uh-oh, uh oh, gulp, d:, D:, scared face, fear face, fear emoji, terrified look, terrified
        scream, frenzied fear, in fear, in mortal fear, in dread, with dread, with fear, with terror, living
        in fear, full of fear, filled with fear, filled with dread, filled with terror, gripped by fear,
        seized with fear, seized by terror, stricken with fear, sick with fear, mad with fear, dying of
        fear, crippled by fear, crippling fear, out of my wits, out of her wits""",
    "fearful:0.75": """anxiously, anxiousness, anxieties, social anxiety, anxiety attack, angst-ridden, angsty,
        angst, worriedly, worries, worrying, worrisome, worrier, worrywart, worried to death, worried out of
        my mind, worry lines, nervously, nerves, bag of nerves, a bag of nerves, bundle of nerves, nervous
        wreck, a nervous wreck, nervy, nerve-racking, nerve-wracking, nervous breakdown, jitters, the
        jitters, butterflies, butterflies in her stomach, butterflies in the stomach, stomach in knots, in
        knots, tied up in knots, knot in my stomach, pit in my stomach, sinking feeling, ants in his pants,
        pins and needles, on pins and needles, like a cat on hot bricks, like a cat on a hot tin roof, on
        thorns, antsy, fidgety, fidgeting, fidget, restlessly, restlessness, twitchy, twitching, squirming,
        squirmy, skittish, skittishness, jumpily, jumpiness, flighty, shakily, shakiness, rattled by worry,
        unnerved, unnerving, unnerve, unstrung, unhinged by worry, uneasily, unease, ill at ease,
        ill-at-ease, uncomfortable, uncomfortably, discomfort, discomforted, awkward, awkwardly,
        awkwardness, tensely, tenseness, tensed up, tensed, uptight, wound up, wound-up, wound tight, strung
        out, highly strung, overstrung, keyed up, het up, stressing, stress, stressful, stressing out, under
        stress, under pressure, pressured, pressure, overloaded, overwhelm, swamped, snowed under, burning
        out, frazzled, frayed, at breaking point, breaking point, can't cope, cannot cope, unable to cope,
        losing control, out of control, spinning out, spiraling, spiralling, flustered, fluster, flurried,
        in a flap, flapping, in a tizzy, tizzy, in a dither, dithering, in a state, in a lather,
        discombobulated, hectic, frantically, freaking, freak out, freaked, freaks me out, wigging out,
        weirded out, creeped-out, creeping dread, agitatedly, distressedly, distressing, distressful,
        troubling, troubledly, disturbing, disturbed, disturb, perturbing, perturbation, disconcerted,
        disconcerting, unsettling, unsettlingly, disquieting, disquietingly, dismaying, daunted, daunting,
        intimidation, intimidated look, overawed and small, meekness, timidly, timidness, mouse-like,
        shrinking, shrinking violet, hesitantly, hesitance, hesitation, hesitancy, hesitate, hesitating,
        faltering, falter, wavering, waver, vacillating, stammering, stuttering, stutter, gulping,
        swallowing hard, biting her lip, biting his lip, biting nails, nail biting, biting my nails, chewing
        her nails, wringing her hands, wringing hands, pacing, pacing up and down, sweating, clammy,
        hyperventilating, short of breath, breathless with worry, unsure of himself, self-doubting,
        self-doubt, self-doubts, insecurity, insecurities, uncertainly, uncertainty, doubtfully, doubt,
        doubts, in doubt, unsureness, indecisive, indecision, tentative, tentatively, cautiously, caution,
        careful, carefully, gingerly, warily, wariness, watchful, on guard, on the alert, on high alert,
        hypervigilant, vigilant, vigilance, vigilantly, suspicion, suspiciously, mistrustful, leery, chary,
        scrupulous worry, misgiving, qualm, second thoughts, foreboded, forebodingly, premonition, ominous,
        ominously, portentous, sinister feeling, bad feeling about this, I have a bad feeling about this,
        what if, what if something happens, oh no, oh dear, oh my, oh dear God, desperately, despairing
        plea, in desperation, distress call, SOS, mayday, cornered look, trapped animal, trapping, caged,
        suffocating, suffocated, smothered, drowning, sinking, exposed to danger, hunted look, haunted look,
        haunted expression, troubled look, anxious look, worried look, worried frown, furrowed brow,
        furrowed with worry, concerned frown, knitted brow of worry, white-knuckled, white knuckle,
        sleepless with worry, insomnia, tossing and turning, obsessing, obsessive, obsessed worry, neurotic,
        neurosis, neurotically, hypochondriac, catastrophizing, overthinking, shy and afraid, stage struck
        nerves, exam nerves, first-day nerves, test anxiety, opening night nerves, wedding nerves,
        trepidatious, trepidant, with trepidation, afraid to ask, afraid to speak, afraid of failing, fear
        of failure, fear of rejection, fear of losing you, fear of missing out, FOMO, culture shock,
        persecution complex, persecuted feeling, conspiratorial, eggshells, walking on eggshells, dicey, in
        hot water, in trouble, caught red-handed, guilty look about to be caught, busted, found out, rumbled""",
    "surprised": """surprisedly, surprises, surprise party, surprising news, surprisingly, astonish, astonishes,
        astonishingly, astonishedly, amaze, amazes,, amazedly,, stun, stunning news,, stunned silence,
        stunned look, awestricken, gobsmacked, gob-smacked, gobstruck, knocked sideways, knocked out by the
        news, knocked off his feet, knocked my socks off, blew my mind, blows my mind, mind blowing,
        mind-blowing, mind-bending, jaw-dropping, jaw-droppingly, jaw dropped, jaw dropping to the floor,
        jaws open, slack-jawed, mouth open, mouth fell open, mouth wide open, open mouth, wide open mouth,
        wide open eyes, wide eyes, eyes widening, eyes widened, eyes popping, eyes popping out, pop-eyed,
        eyes on stalks, round-eyed, saucer-eyed, eyes like saucers, googly-eyed, owl-eyed, gawking, gawk,
        gawping, gawp, goggling, goggle-eyed, staring in amazement, gaze of wonder, gape, gapes, gaped,
        gasp, gasps, gasped, gasp of surprise, sharp intake of breath, breath taken away,,,,, raised
        eyebrow, eyebrows up, brows up, brow raised, raising her eyebrows, eyebrows shooting up, hand over
        mouth, hands over mouth, clapping a hand to her mouth, in astonishment, in amazement, in wonder, in
        wonderment, wonderment,, wonders, wondered at, marvel, marvels, marveled, marvelled,,
        unexpectedness, unanticipated, unforeseen, unlooked-for, unpredicted, sudden, suddenly, suddenness,
        abrupt, abruptly, out of nowhere, from nowhere, like a bolt from the blue, bolt out of the blue, a
        bombshell, bombshell, dropped a bombshell, shocker, showstopper, stunner, a stunner, eye-opener, an
        eye-opener, revelations, revealed, epiphany, eureka moment, twist, plot twists, turn-up for the
        books, well I never, well well well, who would have thought, who'd have thought, didn't expect that,
        did not expect that, I didn't expect this, never expected that, not expecting this, what a shock,
        what a turn, what the, what?, what?!, what!, huh, huh?, wait what, wait, you're kidding, you are
        kidding, are you kidding me, are you serious, seriously?, you don't say, no kidding, is that so, is
        it true, for real, for real?, really?, oh really, oh wow, wow wow, woah, whoa, gee, gosh, golly,
        good golly, my goodness, oh my goodness, goodness me, goodness gracious, good heavens, good lord,
        good grief, good gracious, holy cow, holy moly, holy smokes, holy shit, holy crap, jeez, geez,
        crikey, blimey, cor blimey, strewth, great Scott, gadzooks, zounds, egads, OMG, omfg, wth, wtf, o_o,
        o.o, :-o, :o, 0_0, *gasp*, mindblown, speechlessly, speechlessness, lost for words, at a loss for
        words, words fail me, tongue-tied with surprise, struck dumb, struck speechless, stumped,
        stupefying, stupefy, dazed with surprise, disbelieving, disbelievingly, unbelieving, unbelievingly,
        unbelievably, incredulously, incredulousness, incredibly surprised, inconceivable, unthinkable,
        impossible, can't believe it, cannot believe it, cannot believe my eyes, can't believe my eyes,
        can't believe what I'm seeing, can't believe my ears, too good to be true, double-take, did a double
        take, spit take, taken unawares, unawares, caught unaware, unprepared, blindsided, blindside,
        ambushed, wrong-footed, off guard, off-guard, jumped out of my skin, jumped out of his skin,
        jumping, jump, jumped, leapt back, jolt, jolting, jerked awake, electrifying, electrify, galvanized,
        thunderclap, struck by lightning, lightning-struck, like seeing a unicorn, like seeing a miracle,,,,
        astonisher, novelty, unfamiliarity, strange, strangely, strangeness, odd, oddly, weird, weirdly,
        bizarre, bizarrely,,,,,,,""",
    "surprised:0.65": """confusing, confusedly, confusedness, confuses, confuse, bewildering, bewilderedly,
        bewilder, perplexing, perplexedly, perplex, baffling, bafflement, baffle, bafflingly, mystifying,
        mystification, mystery, mysterious, puzzling, bamboozled, flustered surprise, muddled, muddle, mixed
        up, mixed-up, addled, fuddled, befogged, foggy, hazy, disorientation, disorienting, disorientated,
        lost and confused, clueless, without a clue, no idea, I have no idea, I don't understand, don't
        understand, I do not get it, not getting it, not understanding, misunderstanding, head-scratching,
        scratching his head, scratching her head, scratch my head, at sea, all at sea, out of his depth,
        stymied, thrown, thrown off, thrown for a loop, caught short, nonplus, nonplussedly, taken off
        balance, off balance, quizzically, quizzical look, questioningly, questioning look, question mark,
        ???, ??, question, inquisitively, inquisitiveness, curiosity piqued, curiouser, intriguing,
        intriguingly, fascinating, fascinate, fascinatedly, captivation, mesmerized, mesmerised,
        mesmerizing, spellbound, hypnotized, hypnotised, transfixed, entrancement, enthralling, enthrall,
        beholden wonder, bemusedly, bemusement, wonderingly, wonder why, wondered, doubting Thomas, doubtful
        surprise, suspenseful, suspense, in suspense, cliffhanger, on the edge of my seat, on the edge of
        her seat, breathless, breathlessly, with bated breath, bated breath, holding her breath, holding my
        breath, on tiptoe, impressively, impressive, impress, taken with, discovering, discovery, discover,
        finding out, found it, realizing, realising, realization, realisation, dawning realization, sudden
        realization, it dawned on him, sudden insight, insight, aha moment, recognition, recognizing,
        remembering suddenly, suddenly remembering, alertly, perking up her ears, attention caught,""",
    "disgusted": """disgustedly, disgustful, disgusts, disgustingly, gross, grossly, so gross, that's gross,
        that is gross, how gross, ick, icky feeling, the ick, yuk, yucky face, yech, yeuch, blech, bleh,
        bleurgh, blergh, ewww, ewwww, eewww, eeew, eww gross, ugh gross, ugh that smells, pew, pee-yew, pooh
        it stinks, it stinks, that stinks, stinks, stink, stinky, stank, reeks, reeking, reek, smells bad,
        bad smell, a bad smell, awful smell, terrible smell, smelling something bad, smells something
        rotten, smelly socks, foul smell, foul stench, foul odor, fetid, foetid, malodorous, rancid, rank
        smell, rank, noisome, miasma, putrefying, putrefied, putrescent, rotting, rot, rotted, rotten meat,
        rotten eggs, decaying, decay, decomposing, mouldy, moldy, mold, spoiled milk, sour milk, sewage,
        sewer, sewer rat, garbage, rubbish heap, filth, filthily, filthiness, muck, mucky, slime, slimily,
        ooze, oozing, pus, pustule, snot, snotty, phlegm, mucus, feces, faeces, excrement, poop, dog poop,
        dung, vomity, vomits, vomited, want to vomit, wants to vomit, about to vomit, makes me vomit, makes
        me want to vomit, could vomit, could puke, puke, pukes, puked, pukey, barfed, hurl, hurling,
        upchuck, spew, spewing, threw up, throw up, throwing up in my mouth, threw up in my mouth, retch,
        retches, retched, gag, gags, gagged, gag reflex, heave, heaving, dry heaving, dry heave, stomach
        turning, my stomach turns, turns my stomach, turned my stomach, stomach churning, stomach heaving,
        sick at heart with disgust, sick with disgust, makes me sick, you make me sick, it makes me sick,
        sickening, sickeningly, feeling sick, feel sick, going to be sick, about to be sick, I'm going to be
        sick, seasick, carsick, airsick, motion sick, travel sick, airsickness, seasickness, bilious
        feeling, qualmish, green around the gills, green at the gills, turning green, indigestion,
        indigestible, uneatable, inedible, unappetizing, unappetising, unsavoury, distasteful look,
        distastefully, foul-tasting, bad taste, bad-tasting, bitter taste, a bitter taste, sour taste,
        tasting something bitter, tasted something sour, sucking a lemon, biting a lemon, spat out, spitting
        out, spit it out, spits, spitting in disgust, wrinkled her nose, wrinkles his nose, nose wrinkled,
        nose wrinkling, scrunching her nose, scrunched nose, crinkled nose, nose scrunched up, holding her
        nose, pinching his nose, curling her lip in disgust, lip curled in disgust, tongue out in disgust,
        tongue sticking out in disgust, grimacing, grimace, grimaced, grimace of disgust, pulling a face,
        making a face at the smell, shuddering with disgust, shudder of disgust, shrinking back in disgust,
        turning away in disgust, averting her eyes in disgust, look of disgust, expression of disgust,
        disgusted face, disgusted look, repugnancy, repugned, abhor, abhors, abhorring, abominate,
        abominating, loathe, loathes, loathed, loathing, loathly, detests, detested, detestable, odium,
        odiously, hideous, hideously, hideousness, ugly sight, unsightly, monstrous, monstrosity, ghastly,
        grisly, grotesque, grotesquely, macabre, gory, gore, bloody mess, blood and guts, carcass, corpse,
        roadkill, dead rat, cockroach, cockroaches, roach, maggot, maggoty, worms, worm, leech, slug, slugs,
        lice, infested, infestation, vermin, flies on food, hair in the soup, toilet, dirty toilet,
        unwashed, unclean, uncleanness, impure, tainted, contaminated, contamination, polluted, poisoned,
        toxic, infected, infectious, festering, fester, leprous, diseased, plague, pestilence, pestilential,
        grubby, grubbiness, grimy, grime, dirty, dirtiness, dirt, soiled, sordid, squalid, squalor, seedy,
        sleazy, sleaze, scuzzy, skeevy, skeeved out, skeezy, crusty, greasy, germy, germs, cooties, nasty
        taste, nasty food, vilely, vileness, foulness, foully, offensively, offensive, obscene, obscenity,
        lewd, perverted, perverse, pervert, depraved, despicable, shuddersome, cringeworthy, cringe-worthy,
        cringy, cringey, cringed, turn-off, a turn-off, off-putting, off putting, put off, put me off,
        disinclination for food, displeasing smell, sick-making, emetic, nauseant, averseness, aversively,
        averted, allergic to it, can't stand it, cannot stand it, can't stand the sight, can't stomach it,
        cannot stomach it, unable to stomach, intolerable, unbearable, unendurable, insufferable""",
    "contempt": """contemptible fool, contemptibly, contemptuousness, contempts, scorning, scorns, scorned,
        scornfulness, disrespectfully, disrespecting, smirked, smirks, smirkingly, smirky, cynic, cynically,
        cynics, sardonically, sarcastically, sarcastic smile, sarcastic tone, sarcastic remark, sarcastic
        laugh, arrogantly, arrogant smirk, arrogant look, superior smile, superior look, superiorly,
        superiority complex, better than you, better than everyone, thinks he is better than everyone,
        thinks she is better, holier than thou, look down on, looks down on, looking down on you, looking
        down her nose, look down one's nose, down his nose, nose in the air, with his nose in the air, nose
        up in the air, on his high horse, on her high horse, high-handed, high-handedly, highfalutin,
        hoity-toity, toffee-nosed, la-di-da, hifalutin, high hat, uppity, uppish, snotty attitude, snobbery,
        snobbishly, snobbishness, snobs, elitist, elitism, patronize, patronise, patronizingly,
        patronisingly, patronizing tone, talking down to, talks down to, talking down to someone,
        dismissively, dismissiveness, dismissing, dismissal, dismissive wave, waving away, brushing someone
        off, brush-off, belittle, belittles, denigrating, denigrate, deprecatory, deprecation, depreciating,
        disparage, disparagingly, disparagement, detracting, detraction, vilifying, vilify, maligning,
        malign, slandering, slander, ridicules, ridiculing laugh, ridiculous fool, risible, jeers, jeered,
        jeeringly, gibe, jibe, gibing, scoffs, scoffed, scoffingly, scoffing laugh, taunts, taunted, taunt,
        tauntingly, heckling, heckle, heckled, booing, booed, hissing at the villain, hooting at, laughing
        at someone, laughs at you, laughing at a loser, laughing in his face, laugh in your face, making
        fun, makes fun of, making fun of someone, poking fun at, lampoon, lampooning, satirical, satire,
        parodying, burlesque, spoofing, mimicking cruelly, deriding, deride, derides, derided, pooh-poohing,
        pshaw, pfft, pff, tsk, tsk tsk, tch, hmph, harrumph, humph, bah, bah humbug, yeah right, as if, oh
        please, give me a break, big deal, so what, who cares, whatever loser, loser!, you loser, you fool,
        you idiot, what an idiot, idiots, imbeciles, how pathetic, pathetic loser, so pathetic, you are
        pathetic, beneath me, beneath contempt, beneath notice, not worth my time, not worth it, unworthy of
        me, worthless scum, scum, lowlife, peasant, peasants, plebs, riffraff, rabble, trash,
        self-satisfied, self-satisfaction, self-satisfied look, self-important man, self-importance,
        self-righteous, self-righteously, self-righteousness, sanctimonious, sanctimony, sanctimoniously,
        pharisaic, priggish, prig, smarmy, smart-alecky, smart-ass, know-it-all, know-all, wise guy,
        cocksure, cocksureness, overconfident, overconfidence, overweening, hubristic, presumptuous,
        presumption, presumptuously, pretentious, pretentiously, pretentiousness, ostentatious,
        vainglorious, vainglory, vainly, vain man, egotistic, egotistical, egotism, egoistic, egotist,
        egomaniac, egomaniacal, narcissist, narcissism, narcissistically, conceitedly, conceitedness,
        bigheaded, big-headed, swollen-headed, swell-headed, swollen head, full of himself, full of herself,
        stuck up, stuckup, proud and cold, swaggering, swagger, strutting, strut, peacocking, bragging,
        brag, boasting, boastful, boastfully, boast, braggart, blowhard, pompously, pomposity, bombastic,
        grandiose, grandiosity, lofty, loftily, loftiness, lordliness, lording it over, lords it over,
        imperiously, imperiousness, queenly, aristocratic, patrician, high-nosed, cavalierly, insolently,
        insolent grin, impudent, impudence, impudently, impertinent, impertinence, cheeky contempt,
        flippant, flippantly, flippancy, offhand, offhandedly, brazen, brazenly, shameless, audacious,
        audacity, nerve, brash, brashly, cocky grin, cockily, cockiness, judgy, judgemental, judgmentally,
        judging you, side-eye, side eye, giving side-eye, giving the side eye, throwing shade, shade, shady
        look, eye rolling, eye-rolling, eyeroll, rolling his eyes, rolled her eyes, rolls eyes, rolls her
        eyes, raised eyebrow of scorn, arched eyebrow, one eyebrow raised, cocked eyebrow, quirked eyebrow,
        curling lip, curled his lip, lip curl, lip curled, curl of the lip, one-sided smirk, lopsided smirk,
        crooked smirk, half smirk, half-smirk, tight smile, tight-lipped smile, cold smile, thin smile, a
        thin smile, wry smile, wryly, wryness, ironically, ironical, dry wit, dry humour, tongue lashing
        scorn, scathingly, withering, withering look, a withering look, withering glance, witheringly,
        cutting remark, cutting, biting remark, biting wit, mordant, mordantly, acid remark, trenchant,
        caustically, blistering, vitriolically, slighting, slight, slightingly, sneery, snickering, snicker,
        snickered, sniggering, snigger, sniggered, snort, snorting, snorted, a snort, cackle, cackling,
        villain smirk, jaded contempt, nihilistic, nihilist, misanthrope, misanthropy, misogynist, sexist,
        racist contempt, chauvinist, chauvinistic, intolerant, intolerance, bigot, bigotry, closed-minded,
        narrow-minded, disesteem, dishonor, dishonour, repudiating, repudiation, spurn, spurns, spurning,
        rejecting coldly, cold shoulder, the cold shoulder, giving the cold shoulder, cold-shouldering,
        snub, snubs, snubbing, cold contempt, icy contempt, open contempt, utter contempt, thinly veiled
        contempt, barely concealed contempt, lack of respect, no respect, without respect, unrespectful""",
    "contempt:0.65": """skeptically, sceptically, sceptic, skeptic, scepticism, skeptical look, sceptical look,
        unconvinced look, not convinced, distrustfully, dubiously, dubiousness, doubting smirk, aloofly,
        aloofness, standoffish, stand-offish, unapproachable, unimpressed look, underwhelmed,
        unimpressively, not impressed, not amused, not buying it, don't buy it, coldly, coldness, cold,
        cold-blooded, coolly superior, disaffected, disaffection, disloyal, two-faced, insincere,
        insincerely, insincerity, hypocritical, hypocrite, fake, fake smile, phony, phoney, plastic smile,
        forced smile, a forced smile, strained smile, scheming, schemer, conniving, calculating,
        manipulative, machiavellian, crafty, craftily, shrewd, shifty, shiftily, shady, sneaky, sneakily,
        sneakiness, sly grin, slyly, slyness, foxy, wily grin, cunningly, evil grin, evil smile, wicked
        grin, wicked smile, mean smile, devious, deviously, deceitful, deceitfully, deceptive, lying, liar,
        cheating, cheater, conspiring, plotting, ulterior, gloat, gloats, gloated, gloatingly, crowing,
        rubbing it in, I told you so, told you so, teasing cruelly, teasingly, tease, razzing, needling,
        baiting, one-upmanship, rivalry, rival, self-centered, self-centred, selfish, selfishly,
        selfishness, egocentric, self-absorbed, self-serving, self-seeking, greedy, greed, avaricious,
        avarice, spoiled, spoilt, spoiled brat, bratty, brat, entitled, entitlement, princess attitude,
        diva, prima donna, domineeringly, bossily, controlling, overbearingly, nitpicky, pedantic,
        pedantically, pedant, fastidious, finicky, fussy, picky, choosy, hard to please, critically,
        hypercritical, judging, judgement, criticism, disfavor, disfavour, disliking, dislike, dislikes,
        disliked, don't like it, do not like it, unfavourable, unfavorable, grudgingly polite,""",
    "angry:0.55+disgusted:0.45": """hates, hated, hater, haters, hate-filled, hatefulness, full of hate, filled
        with hate, filled with hatred, pure hatred, burning hatred, blind hatred, hate speech, hate your
        guts, I hate this, I hate it, I hate him, hate him, I detest you, can't stand you, can't stand him,
        execrate, execration, venom, venomously, poisonous look, poisonous, virulent, virulence, virulently,
        bile, bilious hatred, rancorously, malice and hatred, sworn enemy, archenemy, nemesis, mortal enemy,
        enemy, foe, despises, despised enemy, xenophobia, racism, racist, misogyny, homophobic, transphobic""",
    "disgusted:0.6+angry:0.4": """appallingly, outrageous, outrageously, scandalous, scandal, scandalised,
        scandalized look, shocking behaviour, moral outrage, morally outraged, moral disgust, unacceptable,
        inexcusable, reprehensible, deplorable, deplore, deploring, disgraceful, disgracefully, shameful
        behaviour, atrocious, atrocity, heinous, egregious, abuse of power, sick of you, sick and tired,
        corrupt, corruption""",
    "surprised:0.65+fearful:0.35": """shocks, shockingly, shock horror, shocked face, shocked look, shocked
        silence, shocked to the core, shaken to the core, in a state of shock, state of shock, culture
        shocked, bombshell news, electric shock, jolted awake, awoken by a bang, loud bang, sudden noise,
        gasping in shock, appalled shock, staggered, staggering, reeling, rocked by the news, unnerved
        surprise, oh shit, oh crap, oh God, oh my God no, jesus, jesus christ, yipes, zoinks, ack, sudden
        shock, sheer shock""",
    "surprised:0.65+happy:0.35": """awesomely surprised, wowed, wow that's great, wow amazing, amazed and
        delighted, dazzling, dazzle, starstruck fan, star-struck, stargazing wonder, wonderstruck smile,
        childlike amazement, marvellously, marvelously, marvellous, magically surprised, sense of wonder,
        sense of awe, awe-inspiring,, sublime, sublimity, breathtaking beauty, reverent awe, rapt with
        wonder, admiring wonder, admiring awe, wonderstruck child, unexpected joy, unexpected gift, happy
        surprise, a happy surprise, pleasant surprise, what a pleasant surprise, pleasantly surprising,
        delightful surprise, nice surprise, lovely surprise, joyful surprise, joyful astonishment, joyous
        amazement, happy shock, exciting, excitedly, excites, excite, over-excited, overexcited, super
        excited, so excited, excited beyond words, thrilled and amazed, hyper, bouncing off the walls,
        hopping with excitement, squealing with delight, squeal, squealing, squee, giddily, eager surprise,
        agog with excitement, aflutter, atwitter, tingling, all aflutter, serendipity, serendipitous, lucky
        find, windfall, jackpot winner, good surprise, surprised and happy, happy and surprised, happily
        shocked, happily astonished, surprised smile, surprised laugh, surprised and delighted, flushed with
        excitement, anticipations""",
    "happy:0.5+surprised:0.5": """awesome sight, extraordinary, extraordinarily, phenomenal, remarkable,
        remarkably, sensational, spectacular, amazing, amazingly, breathtaking, breath-taking, takes my
        breath away, took my breath away, wondrous, miraculous, miracle, miraculously, awesomeness,
        stunningly""",
    "happy:0.45+sad:0.45": """bittersweetly, tearful smile, smiling with tears, laughing and crying, laughing
        through tears, crying and laughing, smile through the pain, sad smile, a sad smile, melancholy
        smile, happy-sad, sweet sorrow, sweet sadness, fond farewell, bidding farewell with a smile, touched
        to tears, moved to happy tears, tears of happiness, tears of relief, weeping with joy, crying with
        joy, crying tears of joy, weeping for joy, brave smile, putting on a brave face, brave face,
        nostalgic smile, nostalgic joy""",
    "sad:0.6+fearful:0.4": """dismayedly, anguishing, agonizing, agonised, agonising, agonizingly, tormenting,
        torture, torturous, tortuous pain, excruciating, excruciatingly, in agony, in terrible pain,
        writhing in pain, wincing, wince, winced, wincing in pain, ouch, ow, owww, tortured look, traumatic,
        trauma, traumatised, PTSD, shell-shocked and sad, desperately sad, desperate tears, crying in fear,
        whimpering in fear, frightful grief, panic and tears, worried and sad, sad and worried, sad and
        afraid, afraid and alone, scared and alone, lost and afraid, helpless and scared, insecure and sad,
        dreadfully sad, distress and tears, tears of fear, pleading for his life, pleading in tears, begging
        in tears""",
    "sad:0.55+angry:0.45": """upsetting, upset, upsets, very upset, so upset, terribly upset, emotionally upset,
        upset and annoyed, aggrieve, aggrieving, bitterly, bitterly disappointed, bitter disappointment,
        bitter resentment, embitterment, sullenly hurt, jealously, green with jealousy, envying, envies,
        enviously, invidious, hurt and betrayed, betrayed and heartbroken, crying with rage, tears of rage,
        tears of anger, angry tears, tears of frustration, sobbing with rage, wounded pride, hurt pride,
        injured pride, indignantly hurt, sad and angry, angry and sad, mad and sad, sad and mad, frustrated
        and sad, disappointed and angry, mad at myself, angry at myself, self-hating, self-loathing,
        self-disgust, self-hatred, remonstrating, crestfallen and cross, brokenhearted rage, unfair and sad,
        disillusion and anger, inner turmoil, turmoil, torn and angry, scorned, woman scorned, a woman
        scorned, spurned lover, jilted lover""",
    "sad:0.5+surprised:0.5": """sad surprise, sad shock, shocked and sad, sad and shocked, stunned and sad,
        sudden loss, sudden grief, sudden bad news, shock and grief, grief and shock, shocked grief,
        devastated and shocked, unpleasant surprise, an unpleasant surprise, nasty surprise, a nasty shock,
        rude awakening, cruel surprise, surprised and disappointed, shocked and disappointed, sadly amazed,
        sadly astonished, sad disbelief, heartbroken disbelief, tearful disbelief""",
    "sad:0.5+disgusted:0.5": """sadly disgusted, sad disgust, disgusted and sad, sad and disgusted, sickened
        grief, sorry disgust""",
    "angry:0.5+fearful:0.5": """fight or flight, angry and scared, scared and angry, angry fear, fearful anger,
        frightened anger, defensively, defensiveness, on the defensive, hysterical rage, panic and rage,
        desperate fury, desperate rage, cornered, paranoid rage, mad with terror and rage, protective mother
        bear, mama bear, protective anger""",
    "fearful:0.5+disgusted:0.5": """creeping horror, horror and disgust, disgust and fear, disgusted and afraid,
        gruesomely scared, body horror, spiders crawling, spiders crawling on my skin, skin crawling, makes
        my skin crawl, my skin is crawling, makes my flesh creep, flesh-creeping, creepy crawlies, ghastly
        sight, horrible, horribly, horrid, horridly, hideous fear, horrendous, horrendously, dreadful,
        dreadfully, terrible, terribly, awful, awfully, abysmal, morbid, morbidly, morbidity""",
    "happy:0.5+disgusted:0.5": """happy disgust, laughing and disgusted, funny and gross, gross but funny,
        amused and grossed, disgusted laugh, laughing in disgust, disgust and amusement, guilty pleasure,
        perverse pleasure, toilet humour""",
    "happy:0.5+angry:0.5": """happily angry, angrily happy, happy and angry, angry joy, vengeful joy, fierce
        joy, savage joy, triumphant rage, sadistic joy, sadistic smile, sadistic grin, evil laughter, evil
        laugh, maniacal laughter, maniacal, maniacal grin, malicious joy, malicious glint, mwahaha, muahaha""",
    "happy:0.5+fearful:0.5": """fearfully happy, happy fear, happy but scared, scared but happy, excited and
        scared, scared and excited, nervously excited, nervous excitement, nervous smile, nervous giggle,
        giggling nervously, anxious smile, anxious excitement, thrill of fear, thrill seeking,
        thrill-seeking, adrenaline rush, adrenaline, daredevil, bungee jump, roller coaster ride, awkward
        smile, awkward laugh, embarrassed smile, embarrassed laugh, shy smile, shyly smiling, bashful smile,
        timid smile, blushing, blush, blushed, stage fright fun, butterflies of love, first date, first kiss""",
    "happy:0.5+contempt:0.5": """smug joy, self-satisfied grin, smirking joy, smirky smile, superior amusement,
        amused contempt, contemptuous amusement, wicked humour, wry amusement, sarcastic amusement, sardonic
        smile, sardonic grin, ironic smile, gloating smile, gloating grin, gloating joy, triumphant smirk,
        proud smirk, cocky smile, cocky smirk, impish smirk, mischievous smirk, mischief, mischievously,
        roguish, roguishly, rogue, rascally, arch smile, archly, coolly amused, conspiratorial wink,
        cheekily, cheekiness, trolling, troll face, devilish grin, devil-may-care, diabolical grin""",
    "angry:0.5+surprised:0.5": """angrily shocked, angrily amazed, surprised anger, surprised and angry, angry
        and surprised, angry surprise, shocked anger, shocked and angry, outraged disbelief, outrage and
        disbelief, are you insane, are you out of your mind, what do you think you are doing, what is wrong
        with you, what did you do, what did you just say, you did what, excuse me?!, you can't be serious,
        have you gone mad, I beg your pardon""",
    "fearful:0.5+surprised:0.5": """fearfully surprised, surprised fear, scared and surprised, surprised and
        scared, shocked and scared, scared and shocked, frightening surprise, jumpscare, jump scared,
        terrified surprise, sudden fear, sudden terror, shock and terror, shock and horror, horror-stricken,
        horrorstruck, horror-struck look, struck with horror, agape with horror, gaping in horror, gasping
        in horror, a gasp of horror, horrified look, watching in horror, horrified onlooker, accident
        witness, seeing a ghost, ghost sighting, as if seen a ghost""",
    "disgusted:0.5+surprised:0.5": """disgustedly surprised, surprised disgust, disgusted and surprised,
        surprised and disgusted, shocked and disgusted, disgusted and shocked, disgusted shock, disgusted
        disbelief, grossed and shocked, appalled look, aghast at the filth, horrified disgust, shocked
        disgust""",
    "angry:0.5+disgusted:0.5": """angrily disgusted, angry disgust, disgusted and angry, angry and disgusted,
        mad and disgusted, furious disgust, disgusted rage, disgusted fury, outraged disgust, disgust and
        rage, vicious disgust""",
    "contempt:0.5+angry:0.5": """spitefully, spited, scornful anger, angry contempt, contemptuous anger,
        contemptuous rage, bitter scorn, bitter sarcasm, bitterly sarcastic, venomous scorn, bitchy,
        bitchily, bitch face, catty, cattily, cattiness, petty, pettiness, pettily, vindictively,
        vindictiveness, sniping, snipe, insults, insultingly, insulting laugh, abusively, bullied him,
        verbal abuse, name-calling, trash talk, trash-talking, smack talk, hostile sarcasm, defiant smirk,
        insubordination, rudely dismissive, scathing attack, snarky, snark, snarkily, sarky""",
    "contempt:0.5+disgusted:0.5": """contemptuous disgust, disgusted contempt, contempt and disgust, disgust and
        contempt, utter disgust and contempt, lip-curling disgust, nose in the air at the smell, moral
        superiority, loathing and contempt, despicableness, despicably, despise, despises you, despisingly,
        revile, reviling, reviled, vilification""",
    "contempt:0.5+sad:0.5": """jaded and sad, weary contempt, bitter cynicism, sad contempt, disappointed
        contempt, weary sarcasm""",
    "angry:0.3+sad:0.3": """stressed and tired, over-tired and moody, conflicted and cross, mixed-up feelings,
        cabin fever, stir-crazy""",
}

# Basic words in other languages and scripts, as their speakers type them.
LANGUAGES: dict[str, str] = {
    "happy": """счастливый, счастливая, счастлив, радостный, радость, весёлый, веселый, щасливий, радісний,
        šťastný, šťastná, veselý, radost, šťastie, boldog, vidám, öröm, fericit, bucuros, bucurie, щастлив,
        радостен, sretan, srećan, veseo, radostan, χαρούμενος, ευτυχισμένος, χαρά, 快乐, 高兴, 开心, 幸福, 喜悦, 快樂,
        開心, 高興, 嬉しい, うれしい, 楽しい, 幸せ, 喜び, 행복, 행복한, 기쁨, 기쁜, 즐거운, سعيد, سعيدة, فرح,
        فرحان, خوشحال, شاد, שמח,
        שמחה, מאושר, खुश, खुशी, प्रसन्न, सुखी, আনন্দিত, খুশি, மகிழ்ச்சி, خوش, มีความสุข, ดีใจ, hạnh phúc,
        vui, vui vẻ, bahagia, gembira, masaya, furaha, neşeli, sevinçli, sevinç, iloisesti, onnellinen,
        iloa, glad, gladje, glädje, munter, froh und munter, überglücklich, freudestrahlend, lustig,
        begeistert, ravi, enchanté, joyeuse, content, contente, bonheur, dichoso, encantado, felicidad,
        jubiloso, lieto, felicità, entusiasta, animado, contente e feliz, felicidade, opgewekt, verheugd,
        dolgelukkig, zadowolony, uradowany, õnnelik, laimingas, laimīgs""",
    "sad": """грустный, грустная, грустно, печальный, печаль, грусть, несчастный, сумний, сум, smutný, smutná,
        smutek, zarmoucený, szomorú, bánat, trist, tristă, tristețe, тъжен, tužan, žalostan, λυπημένος,
        λύπη, στεναχωρημένος, 悲伤, 难过, 伤心, 悲痛, 悲傷, 難過, 傷心, 悲しい, かなしい, 寂しい, 悲しみ,
        슬픈, 슬픔, 슬프다, حزين, حزينة,
        حزن, غمگین, ناراحت, עצוב, עצובה, עצב, दुखी, उदास, दुःख, দুঃখিত, சோகம், اداس, เศร้า, เสียใจ, buồn,
        đau buồn, sedih sekali, malungkot, huzuni, mutsuz, üzüntü, keder, surullisesti, suru, ledsamhet,
        sorgsen, bedrövad, bedrøvet, sørgmodig, trauer, traurigkeit, bekümmert, niedergeschlagen,
        unglücklich, triste et seul, chagrin, attristé, peiné, apenado, afligido, desdichado, pena,
        infelice, dispiaciuto, addolorato, abatido, infeliz, magoado, ongelukkig, treurig, somber en
        verdrietig, nieszczęśliwy, kurb, liūdnas, bēdīgs""",
    "angry": """злой, сердитый, разгневанный, гнев, злость, ярость, злий, сердитий, naštvaný, rozzlobený,
        vzteklý, vztek, nahnevaný, dühös, mérges, harag, furios, supărat, furie, ядосан, ljut, bijesan,
        besan, θυμωμένος, θυμός, οργή, 生气, 愤怒, 恼火, 生氣, 憤怒, 怒り, 怒った, 怒っている, 화난, 화가 난,
        분노, غاضب, غاضبة, غضب,
        عصبانی, خشم, כועס, כועסת, כעס, गुस्सा, क्रोधित, नाराज, রাগান্বিত, কোப்ம், கோபம், غصہ, โกรธ, โมโห,
        tức giận, giận dữ, marah sekali, galit, hasira, öfkeli, sinirli, öfke, vihaisesti, viha, arg och
        sur, ilsken, rasande, ilska, rasende, sinne, erbost, aufgebracht, zorn, ärger, ärgerlich, sauer auf
        dich, en rage, énervé, irrité, enragé, rage noire, enfurecido, rabioso, cabreado, ira y furia,
        infuriato, furibondo, ira funesta, bravo, furioso de raiva, irado, woest, razend, gniewny, gniew,
        rozgniewany, vihane, piktas, dusmīgs""",
    "fearful": """испуганный, напуганный, страх, боюсь, испуг, наляканий, страшно, vyděšený, vystrašený, strach,
        bojím se, félő, ijedt, rémült, félelem, speriat, înfricoșat, frică, уплашен, uplašen, prestrašen,
        φοβισμένος, φόβος, τρομαγμένος, 害怕, 恐惧, 惊恐, 恐懼, 驚恐, 怖い, こわい, 恐れ, 恐怖, 두려운,
        무서운, 두려움, 공포, خائف, خائفة,
        خوف, ترسیده, ترس, מפחד, פחד, מבוהל, डरा हुआ, डर, भयभीत, ভীত, பயம், خوفزدہ, กลัว, หวาดกลัว, sợ hãi,
        sợ, takut sekali, natatakot, hofu, korkmuş ve ürkek, korku, pelokas, pelko, skrämd, rädsla,
        forskrækket, skremt, erschrocken, panisch, furcht, bange Erwartung, terrifié, terrorisé, crainte,
        aterrado, aterrorizado, temor, terrorizzato, timoroso, apavorado, aterrorizado de medo, doodsbang,
        angst en beven, wystraszony, lęk, hirmunud, išsigandęs""",
    "surprised": """удивлённый, удивленный, удивление, изумлённый, здивований, překvapený, překvapení, udivený,
        meglepett, csodálkozó, meglepetés, surprins, uimit, surpriză, изненадан, iznenađen, έκπληκτος,
        έκπληξη, 惊讶, 吃惊, 惊喜, 驚訝, 吃驚, 驚いた, びっくり, 驚き, 놀란, 놀람, 놀라운, متفاجئ, مندهش,
        مفاجأة, متعجب, شگفت زده,
        מופתע, הפתעה, हैरान, आश्चर्यचकित, आश्चर्य, বিস্মিত, ஆச்சரியம், حیران, ประหลาดใจ, ตกใจ, ngạc nhiên,
        bất ngờ, terkejut sekali, kaget, nagulat, mshangao, şaşırmış, hayret, yllättynyt, hämmästynyt,
        förvånad och häpen, häpen, overrasket og forbløffet, forbløffet, verwundert, staunend, perplex,
        überraschung, étonnement, stupéfait, ébahi, surprise, asombro, sorpresa grande, atónito,
        meravigliato, sbalordito, stupore, espantado, admirado, perplexo, verwonderd, verrassing, zdumiony,
        zaskoczenie, üllatunud, nustebęs""",
    "disgusted": """отвращение, брезгливый, противно, с отвращением, огида, znechucený, odpor, hnus, undorodott,
        undor, dezgustat, dezgust, отвратен, zgrožen i zgađen, gađenje, αηδιασμένος, αηδία, 厌恶, 恶心, 厭惡, 噁心,
        嫌悪, 気持ち悪い, むかつく吐き気, 역겨운, 혐오, مشمئز, اشمئزاز, قرف, منزجر, נגעל, גועל, घृणा, घिन,
        বিরক্তি ঘৃণা,
        வெறுப்பு, کراہت, รังเกียจ, ขยะแขยง, ghê tởm, kinh tởm, jijik, nandidiri, chukizo, iğrenmiş,
        tiksinti, inhottava, inho, ällöttävä, avsmak, äckel, frastødt, afsky, vemmelse, abscheu, angeekelt
        sein, eklig, widerlich, écœuré, répugnance, écoeuré, dégoûtée, repugnancia, asqueroso, repulsión,
        ripugnanza, schifato, schifo, disgustata, repugnado, repulsa, afschuw, vies, walgelijk, obrzydzenie,
        brzydzę się, vastikus""",
    "contempt": """презрение, презрительный, презрительно, зневага, pohrdavý, opovržení, pohrdání, megvető,
        megvetés, dispreț, disprețuitor, презрение и високомерие, prezir, prezriv, περιφρόνηση,
        περιφρονητικός, 轻蔑, 蔑视, 鄙视, 輕蔑, 蔑視, 軽蔑, 見下す, 경멸, 멸시, ازدراء, احتقار, تحقیرآمیز,
        בוז, तिरस्कार,
        অবজ্ঞা, حقارت, ดูถูก, khinh bỉ, khinh thường, meremehkan, dharau, küçümseyen, aşağılama, halveksiva,
        halveksunta, föraktfullt, foragt, forakt, geringschätzig, herablassend, überheblich, höhnisch,
        spöttisch, arrogant und kalt, dédaigneux, dédain, hautain, méprisante, desdeñoso, desdén,
        despreciativo, altanero, sprezzante e freddo, sdegnoso, altezzoso, desdém, desprezador, hooghartig,
        neerbuigend, verachting, lekceważący, wzgarda""",
    "neutral": """нейтральный, спокойный, спокойно, равнодушный, нейтрально, спокійний, neutrální, klidný,
        lhostejný, semleges, nyugodt, neutru, calm, неутрален, neutralan, miran, ουδέτερος, ήρεμος, 中性, 平静,
        冷静, 无表情, 平靜, 中立, 普通, 無表情, 落ち着いた, 중립, 무표정, 차분한, 평온한, محايد, هادئ, خنثی,
        آرام, ניטרלי, רגוע, तटस्थ,
        शांत, নিরপেক্ষ, நடுநிலை, غیرجانبدار, เป็นกลาง, เฉยๆ, trung lập, bình thường, netral, tenang, biasa
        saja, kalmado, kawaida, nötr, tarafsız, neutraali, rauhallinen, neutralt, lugn och sansad, nøytral,
        rolig og neutral, neutral und ruhig, ausdruckslos, sachlich, emotionslos, impassible, posé, sans
        émotion, sin emoción, sereno y neutro, inexpresivo, senza emozione, impassibile, sem emoção, zonder
        emotie, onverschillig, bez emocji, obojętny, neutraalne""",
}

_ADVERB = ("ful", "ous", "ive", "less", "ing", "ant", "ent", "ish", "ed", "al")


def inflected(word: str) -> list[str]:
    """Regular forms of a single English adjective or participle: adverb, noun of quality, comparative feeling.

    Only words of typical endings are formed, so that no nonsense is made of others.
    """
    if not re.fullmatch(r"[a-z]{5,}", word):
        return []
    if word.endswith(_ADVERB):
        adverb = word + "ly"
        return [adverb] + ([word + "ness"] if word.endswith(("ful", "ous", "less", "ish", "ive")) else [])
    if re.fullmatch(r"[a-z]+[^aeiou]y", word) and not word.endswith(
        ("ly", "ity", "ary", "ory", "ry", "ogy", "phy", "thy")
    ):
        return [word[:-1] + "ily", word[:-1] + "iness"]
    return []

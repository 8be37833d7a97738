"""EmoDB, the Berlin database of emotional speech (Burkhardt et al. 2005): what its names say, and the words for it."""

from __future__ import annotations

CLASSES = {  # sixth letter of EmoDB's names -> the prompt, and others that mean the same
    "W": ("angry", "furious", "enraged", "anger"),
    "L": ("bored", "boredom", "uninterested"),
    "E": ("disgusted", "disgust", "disgusting"),
    "A": ("fearful", "afraid", "scared", "anxious", "fear"),
    "F": ("happy", "joyful", "happiness", "joy"),
    "T": ("sad", "unhappy", "sadness", "grief"),
    "N": ("neutral", "calm", "a neutral voice"),
}
PROMPTS = [words[0] for words in CLASSES.values()]
NEUTRAL = list(CLASSES).index("N")

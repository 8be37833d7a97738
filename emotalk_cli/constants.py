"""Numbers and names that several layers share; nothing else, so that reading them imports nothing."""

FPS = 25  # video frames a second at which speech is understood and motion is made
SAMPLE_RATE = 16000  # Hz, of speech
BASICS = ("neutral", "happy", "sad", "surprised", "angry", "disgusted", "fearful", "contempt")  # emotions
CROP_SIZE = 512  # px, side of the face crop in which the generators work, and of a video unless --size says otherwise
MAX_SECONDS = 12 * 3600.0  # of sound that is read at all

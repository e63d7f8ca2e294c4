"""Arrays in, arrays out: encoders, indexes and analyses.

Native libraries read their environment once, when they are loaded, so what they must know is said
here, before any of them. OpenMP threads that wait shall sleep: spinning ones take the cores from
decoders and from other jobs (measured with a busy neighbour on two cores: EfficientNet fell from 59
to 25 images a second, and stayed near 50 with sleeping threads).
"""

import os

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

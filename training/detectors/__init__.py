"""The detectors of `inference.detectors` are fitted here."""

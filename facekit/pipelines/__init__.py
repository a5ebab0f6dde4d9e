"""The pipelines: from photos as they are given to photos with restored, filled or edited faces."""

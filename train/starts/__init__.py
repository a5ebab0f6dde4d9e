"""What a training begins from: grown, widened and quiet networks, and the prior's."""

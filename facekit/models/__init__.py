"""Networks, one a file; `layers` defines what they are made of, `fast` the forms that inference computes with."""

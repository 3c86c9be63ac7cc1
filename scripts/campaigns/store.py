CYCLES = (1, 1)


def run(campaign):
    pass

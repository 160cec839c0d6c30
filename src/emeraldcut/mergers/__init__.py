"""Light from dynamics: progenitors, orbits, gravity and gas, suites of mergers, and the camera that looks at them."""

"""A PyTorch Lightning research template in which a run is a pure function of its resolved config."""

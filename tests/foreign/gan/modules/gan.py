"""A generative adversarial network, trained by manual optimisation."""

import math
from typing import Any

import torch
import torch.nn.functional as F
from lightning import LightningModule
from torch import nn
from torchvision.utils import make_grid


class Generator(nn.Module):
    """Maps latent vectors (N, latent_dim) to images of values in (-1, 1)."""

    def __init__(self, latent_dim: int, img_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.img_shape = img_shape
        self.model = nn.Sequential(
            nn.Linear(latent_dim, 32),
            nn.BatchNorm1d(32),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(32, math.prod(img_shape)),
            nn.Tanh(),
        )

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.model(z).view(z.size(0), *self.img_shape)


class Discriminator(nn.Module):
    """Maps images (N, C, H, W) to the probability that they are real (N, 1)."""

    def __init__(self, img_shape: tuple[int, ...]) -> None:
        super().__init__()
        self.model = nn.Sequential(
            nn.Linear(math.prod(img_shape), 32),
            nn.LeakyReLU(0.2, inplace=True),
            nn.Linear(32, 1),
            nn.Sigmoid(),
        )

    def forward(self, img: torch.Tensor) -> torch.Tensor:
        return self.model(img.flatten(1))


class GAN(LightningModule):
    """Trains a generator and a discriminator, each by an optimiser of its own.

    Args:
        channels: of the images.
        height: of the images, in pixels.
        width: of the images, in pixels.
        latent_dim: numbers of a latent vector.
        lr: learning rate of both optimisers.
        b1: decay of Adam's running mean of the gradient.
        b2: decay of Adam's running mean of its square.
    """

    def __init__(
        self,
        channels: int,
        height: int,
        width: int,
        latent_dim: int = 8,
        lr: float = 0.0002,
        b1: float = 0.5,
        b2: float = 0.999,
    ) -> None:
        super().__init__()
        self.save_hyperparameters()
        self.automatic_optimization = False
        shape = (channels, height, width)
        self.generator = Generator(latent_dim, shape)
        self.discriminator = Discriminator(shape)
        self.validation_z = torch.randn(8, latent_dim)
        self.example_input_array = torch.zeros(2, latent_dim)

    def forward(self, z: torch.Tensor) -> torch.Tensor:
        return self.generator(z)

    def adversarial_loss(self, y_hat: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return F.binary_cross_entropy(y_hat, y)

    def training_step(self, batch: Any) -> None:
        imgs, _ = batch
        optimizer_g, optimizer_d = self.optimizers()
        z = torch.randn(imgs.shape[0], self.hparams.latent_dim).type_as(imgs)

        self.toggle_optimizer(optimizer_g)
        self.generated_imgs = self(z)
        valid = torch.ones(imgs.size(0), 1).type_as(imgs)
        g_loss = self.adversarial_loss(self.discriminator(self.generated_imgs), valid)
        self.log("g_loss", g_loss, prog_bar=True)
        self.manual_backward(g_loss)
        optimizer_g.step()
        optimizer_g.zero_grad()
        self.untoggle_optimizer(optimizer_g)

        self.toggle_optimizer(optimizer_d)
        real_loss = self.adversarial_loss(self.discriminator(imgs), valid)
        fake = torch.zeros(imgs.size(0), 1).type_as(imgs)
        fake_loss = self.adversarial_loss(self.discriminator(self(z).detach()), fake)
        d_loss = (real_loss + fake_loss) / 2
        self.log("d_loss", d_loss, prog_bar=True)
        self.manual_backward(d_loss)
        optimizer_d.step()
        optimizer_d.zero_grad()
        self.untoggle_optimizer(optimizer_d)

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        imgs, _ = batch
        self.log("val_gap", self._gap(imgs), prog_bar=True)

    def _gap(self, imgs: torch.Tensor) -> torch.Tensor:
        """Returns the squared distance between the mean image and the mean generated image."""
        fakes = self(self.validation_z.type_as(imgs))
        return F.mse_loss(fakes.mean(0), imgs.mean(0))

    def configure_optimizers(self) -> tuple[list[torch.optim.Optimizer], list[Any]]:
        lr, betas = self.hparams.lr, (self.hparams.b1, self.hparams.b2)
        opt_g = torch.optim.Adam(self.generator.parameters(), lr=lr, betas=betas)
        opt_d = torch.optim.Adam(self.discriminator.parameters(), lr=lr, betas=betas)
        return [opt_g, opt_d], []

    def on_validation_epoch_end(self) -> None:
        z = self.validation_z.type_as(self.generator.model[0].weight)
        grid = make_grid(self(z))
        self.logger.experiment.add_image("generated_images", grid, self.current_epoch)

"""Identity loss (thesis Eq. 3.10, 5.5, 6.11 and 6.18)."""

from torch import Tensor, nn

from facekit.models.identity_encoder import FaceIdentity


class IdentityLoss(nn.Module):
    """1 - cosine similarity of the identity embeddings, with a frozen encoder in evaluation mode."""

    def __init__(self, encoder: FaceIdentity) -> None:
        super().__init__()
        self.encoder = encoder.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "IdentityLoss":
        return super().train(False)

    def forward(self, image: Tensor, target: Tensor) -> Tensor:
        """[B, 3, H, W] in [-1, 1], twice -> distance per face, [B]; no gradient flows into `target`."""
        wanted = self.encoder(target.detach()).float()
        return (1 - (self.encoder(image).float() * wanted).sum(1)).abs()

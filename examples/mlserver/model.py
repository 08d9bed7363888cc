"""A model that says whether a customer leaves, as a runtime of MLServer. The settings of each version say its threshold."""

from __future__ import annotations

import numpy as np
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.errors import InferenceError
from mlserver.types import InferenceRequest, InferenceResponse


class Churn(MLModel):
    """Who spent less than `threshold` in 30 days is likely to leave."""

    async def load(self) -> bool:
        self.threshold = float(self.settings.parameters.extra["threshold"])
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        amounts = [each for each in payload.inputs if each.name == "amount"]
        if len(amounts) != 1:
            raise InferenceError("inputs: one tensor 'amount' is needed")
        spent = np.maximum(NumpyCodec.decode_input(amounts[0]).astype(float).reshape(-1, 1), 0.0)
        score = NumpyCodec.encode_output("probability", self.threshold / (self.threshold + spent))
        return InferenceResponse(model_name=self.name, model_version=self.version, outputs=[score])

"""Two versions of a model that says whether a customer leaves: `uvicorn model:v2 --port 8002`."""

from __future__ import annotations

from fastapi import FastAPI
from pydantic import BaseModel


class Customer(BaseModel):
    customer_id: str
    total_amount_30d: float


def application(version: str, threshold: float) -> FastAPI:
    """Who spent less than `threshold` in 30 days is likely to leave."""
    app = FastAPI(title="churn", version=version)

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "ok"}

    @app.post("/predict")
    async def predict(customer: Customer) -> dict[str, object]:
        score = threshold / (threshold + max(customer.total_amount_30d, 0.0))
        return {
            "customer_id": customer.customer_id,
            "churn_probability": score,
            "risk_level": "high" if score >= 0.5 else "low",
            "model": version,
        }

    return app


v2 = application("v2", threshold=20.0)
v3 = application("v3", threshold=22.0)

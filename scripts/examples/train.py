"""Does a rider tip? A logistic regression, trained on whatever columns the table has.

    datasnap run --name on-main -- python train.py main

What it reads is noted by itself; rows stay in their split in every version of the table, so
models that were trained on different branches are measured on the same rides.
"""

import argparse

import joblib
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import datasnap

parser = argparse.ArgumentParser()
parser.add_argument("revision", help="a branch, a tag or the ID of a snapshot")
parser.add_argument("--strength", type=float, default=1.0, help="the inverse of regularisation")
options = parser.parse_args()

with datasnap.run(params=options) as run:
    rides = run.repository.table(f"rides@{options.revision}")
    features = [name for name in rides.schema.names if name not in ("ride_id", "tipped")]
    parts = rides.split({"train": 0.8, "test": 0.2}, by="ride_id")
    train, test = (parts[name].to_pandas() for name in ("train", "test"))

    model = make_pipeline(StandardScaler(), LogisticRegression(C=options.strength))
    model.fit(train[features], train["tipped"])
    tips = model.predict_proba(test[features])[:, 1]
    run.log({"auc": roc_auc_score(test["tipped"], tips), "features": len(features)})

    joblib.dump(model, "model.joblib")
    run.save_model("model.joblib")

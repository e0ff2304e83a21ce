"""From a raw application to what the two models see: one module, used in training and in serving.

Neither age, nor sex and marital status, nor `foreign_worker` is read, here or anywhere in the pipeline: what a person
is must not decide on what that person is lent, and of sex these data could not speak at all (single men and women who
are not single share one code). Telephone, residence and the like are left out because they add nothing.
"""

import csv

import pandas as pd

# Raw column -> the short name that the pipeline uses.
CODED = {
    "status_of_existing_checking_account": "status",
    "credit_history": "history",
    "purpose": "purpose",
    "savings_account/bonds": "savings",
    "present_employment_since": "employment",
    "property": "property",
    "housing": "housing",
    "job": "job",
}
# The instalment rate is a code too (1 to 4), used as the number that it is: its label was wrong as well, but a model
# that learns the sign from the data answers the same under either label.
NUMBERS = {
    "duration_in_month": "duration",
    "credit_amount": "amount",
    "installment_rate_in_percentage_of_disposable_income": "installment_rate",
}
INPUTS = [*CODED, *NUMBERS]

EXPECTED_AMOUNT_INPUTS = ["purpose", "job_rank", "employment_rank"]
RANKS = ["status_rank", "history_rank", "savings_rank", "property_rank", "housing_rank"]
FEATURES = [*EXPECTED_AMOUNT_INPUTS, *RANKS, "duration", "amount", "installment_rate"]


def read_codes(path):
    """Return the code table: {attribute: {code: (label, rank)}}; the rank is None where the labels have no order."""
    codes = {}
    with open(path, newline="") as file:
        for line in csv.DictReader(file):
            rank = int(line["rank"]) if line["rank"] else None
            codes.setdefault(line["attribute"], {})[line["code"]] = (line["label"], rank)
    return codes


def decode(raw, codes):
    """Join the code table to raw applications.

    Args:
        raw: n rows with at least the columns `INPUTS`, codes as published ("A11").
        codes: What `read_codes` returns.

    Returns:
        n rows with the index of `raw`; for each coded column its label, and its rank where it has one ("status",
        "status_rank": 0 is the least); the numbers as they are: months, DM, 1 to 4.

    Raises:
        ValueError: A column is missing, a code is not in the table, or a number is not whole.
    """
    missing = [column for column in INPUTS if column not in raw.columns]
    if missing:
        raise ValueError(f"an application needs the column {missing[0]!r}; it has {', '.join(map(str, raw.columns))}")
    # Plain Python: an application comes alone, and pandas would take ten times as long over one row.
    decoded = {}
    for column, name in CODED.items():
        table = codes[column]
        given = raw[column].tolist()
        for code in given:
            if code not in table:
                raise ValueError(f"{column} is {code!r}; it must be one of {', '.join(table)}")
        decoded[name] = [table[code][0] for code in given]
        if None not in (rank for _, rank in table.values()):
            decoded[f"{name}_rank"] = [table[code][1] for code in given]
    for column, name in NUMBERS.items():
        decoded[name] = [_whole(column, number) for number in raw[column].tolist()]
    return pd.DataFrame(decoded, index=raw.index)


def _whole(column, number):
    try:
        if int(number) == float(number):
            return int(number)
    except (TypeError, ValueError, OverflowError):
        pass
    raise ValueError(f"{column} is {number!r}; it must be a whole number")


def derive(prepared):
    """Return the features of decoded applications that need no model: n rows, columns `FEATURES`."""
    return prepared[FEATURES]


def decision_inputs(derived, expected_amount):
    """Return what the deciding model sees.

    Args:
        derived: n rows from `derive`.
        expected_amount: n amounts in DM, as the first model estimates them.

    Returns:
        n rows; `amount_over_expected` is 1 where the credit is as large as is usual for such an applicant.
    """
    inputs = derived[[*RANKS, "duration", "installment_rate"]].copy()
    inputs["amount_over_expected"] = derived["amount"] / expected_amount
    return inputs

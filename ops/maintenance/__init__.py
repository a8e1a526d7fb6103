"""Operations on a stage's data: verify, replay, rebuild, redrive, adjust and query."""

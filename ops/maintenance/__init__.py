"""Operations on a stage's data: verify, rebuild, replay, redrive, adjust, show, query, purge, export, import, copy."""

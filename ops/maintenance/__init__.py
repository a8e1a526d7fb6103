"""Operations on a stage's data, such as verify, rebuild, replay, redrive, adjust, purge, export, import and copy."""

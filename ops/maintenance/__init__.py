"""Operations on a stage's data: compare, repair, correct, show, query, purge, and copy to and from files and stages."""

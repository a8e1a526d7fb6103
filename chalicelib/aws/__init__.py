"""The DynamoDB edge: table models, the shared client, and DynamoDB's errors as ours."""

"""The AWS edge: tables and clients. DynamoDB's exceptions leave the event log and the read model as ours."""

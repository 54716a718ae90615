-- Progress of the tables that SQL pipelines keep: it changes in the transaction that changes the rows.
create table pipeline_sinks (
    -- A table is kept by one pipeline.
    sink text primary key,
    pipeline text not null,
    -- Whose epochs these are; a pipeline that begins another ledger makes its tables anew.
    ledger text not null,
    -- The last epoch that is in the table.
    epoch bigint not null
);

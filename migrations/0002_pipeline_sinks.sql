-- Progress of the tables that SQL pipelines keep: it changes in the transaction that changes the rows.
create table pipeline_sinks (
    pipeline text not null,
    sink text not null,
    -- The last epoch that is in the table.
    epoch bigint not null,
    primary key (pipeline, sink)
);

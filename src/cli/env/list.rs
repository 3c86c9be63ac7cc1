//! `micro env list`.

use serde::Serialize;

use crate::{
    cli::{context::Context, ui::Output},
    config::{Environment, LOCAL},
};

#[derive(Serialize)]
struct Row {
    name: String,
    current: bool,
    address: String,
    description: String,
}

pub(super) fn run(cx: &Context) -> anyhow::Result<()> {
    let config = cx.config()?;
    let current = cx.environment_name(config);
    let local = Environment {
        address: cx.state().map_or_else(|| "127.0.0.1:8081".to_owned(), |state| state.proxy),
        description: "Local running Micro Server".to_owned(),
    };
    let mut all = config.environments.clone();
    all.insert(LOCAL.to_owned(), local);
    if !all.contains_key(&current) {
        cx.ui.warn(format_args!("there is no environment `{current}`, which was chosen"));
    }
    let rows: Vec<Row> = all
        .into_iter()
        .map(|(name, Environment { address, description })| Row {
            current: name == current,
            name,
            address,
            description,
        })
        .collect();
    if cx.ui.output != Output::Table {
        return cx.ui.records(&rows, &[], |_| Vec::new());
    }
    let cells = rows.iter().map(|row| {
        let mark = if row.current { '*' } else { ' ' };
        let address = if row.address.is_empty() { "none" } else { &row.address };
        vec![format!("{mark} {}", row.name), address.to_owned(), row.description.clone()]
    });
    Ok(cx.ui.columns(&cells.collect::<Vec<_>>())?)
}

//! `micro quickstart`: the whole tour in one command.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, bail};
use clap::Args;

use super::{
    context::Context,
    failure::{Failure, exit},
};

/// The service that is made.
const NAME: &str = "helloworld";

/// Make a service, run it and call it: the first five minutes in one command.
///
/// Each step is shown as the command you would type, with its output. It can be run again.
#[derive(Args)]
pub(super) struct Quickstart {
    /// The folder the service is made in; the default lies outside any cargo workspace.
    #[arg(long, value_name = "FOLDER")]
    folder: Option<PathBuf>,
}

impl Quickstart {
    pub(super) async fn run(self, cx: &Context) -> anyhow::Result<()> {
        let parent = match self.folder {
            Some(folder) => std::path::absolute(folder)?,
            None => cx.home.data.join("quickstart"),
        };
        fs::create_dir_all(&parent)
            .with_context(|| format!("cannot create the folder `{}`", parent.display()))?;
        let program = env::current_exe().context("cannot find this program")?;
        let tour = Tour { cx, program, folder: parent.clone() };

        cx.ui.line(format_args!("The first five minutes with micro, in `{}`.", parent.display()))?;
        tour.step("Start the server, unless it runs", &["server", "start"])?;
        let folder = parent.join(NAME);
        if folder.join("Cargo.toml").is_file() {
            cx.ui.line(format_args!("\n# The service is there already: `{}`", folder.display()))?;
        } else {
            tour.step("Write a service", &["new", NAME])?;
        }
        let tour = Tour { folder, ..tour };
        cx.ui.line(format_args!("\n$ cd {}", tour.folder.display()))?;
        tour.step("Build it and run it; the first build compiles the SDK and takes a while", &["run", "."])?;
        tour.step("See how it does", &["status"])?;
        tour.step("Call it from the command line", &[NAME, "call", "--name=Jane"])?;
        let state = cx.daemon().find().await.context("the server has ended meanwhile")?;
        let url = format!("http://{}/{NAME}/Call?name=John", state.api);
        cx.ui.line(format_args!("\n# Call it over HTTP\n$ curl \"{url}\""))?;
        // The server of this home is never behind a proxy.
        let client = reqwest::Client::builder().no_proxy().timeout(cx.timeout).build()?;
        let response = client.get(&url).send().await.with_context(|| format!("cannot call {url}"))?;
        let status = response.status();
        let body = response.text().await.with_context(|| format!("cannot read the answer of {url}"))?;
        cx.ui.line(body.trim_end())?;
        if !status.is_success() {
            bail!("{url} answered with {status}");
        }
        cx.ui.line(format_args!(
            "\n{NAME} is running. Its greeting is in `{}`: change it, then `micro run .` there.\n\
             Stop it with `micro kill {NAME}`, the server with `micro server stop`.",
            tour.folder.join("src").join("handler.rs").display()
        ))?;
        Ok(())
    }
}

/// The steps, as a user would type them.
struct Tour<'a> {
    cx: &'a Context,
    program: PathBuf,
    folder: PathBuf,
}

impl Tour<'_> {
    /// Shows and runs a command of this program in the folder of the tour.
    fn step(&self, title: &str, words: &[&str]) -> anyhow::Result<()> {
        self.cx.ui.line(format_args!("\n# {title}\n$ micro {}", words.join(" ")))?;
        let status = self.command(&self.folder, words).status().context("cannot run this program")?;
        match status.code() {
            Some(0) => Ok(()),
            code => {
                let code = code.and_then(|code| u8::try_from(code).ok()).unwrap_or(exit::FAILED);
                Err(Failure::new(code, format!("`micro {}` failed", words.join(" ")))
                    .hint("mend what it says, then run `micro quickstart` again")
                    .into())
            }
        }
    }

    fn command(&self, folder: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        // The quickstart is about the server of this home and the usual namespace.
        command
            .args(words)
            .current_dir(folder)
            .stdin(Stdio::null())
            .env("MICRO_ENV", "local")
            .env("MICRO_NAMESPACE", "micro")
            .env("MICRO_OUTPUT", "table");
        command
    }
}

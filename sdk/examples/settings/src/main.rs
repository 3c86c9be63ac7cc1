//! A service that follows its configuration: it prints its greeting, and prints it again after each change.
//!
//! ```sh
//! micro run .
//! micro config set greeting '{"text": "Hello", "times": 2}'
//! micro logs settings
//! ```

use micro_sdk::{
    Context, Service,
    serde::{self, Deserialize},
    tokio,
};

/// What stands at `greeting` in the config of the namespace.
#[derive(Debug, Deserialize)]
#[serde(crate = "self::serde")]
struct Greeting {
    text: String,
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

#[tokio::main]
async fn main() -> micro_sdk::Result<()> {
    let service = Service::new("settings");
    // What is done beside answering calls is a task of its own; it ends with `run`.
    tokio::spawn(follow(service.context()));
    service.run().await
}

/// Prints the greeting as it is, and then each change of it. A server that goes away and comes back is
/// waited for.
async fn follow(cx: Context) {
    let mut changes = cx.config().watch::<Greeting>("greeting");
    loop {
        match changes.next().await {
            Ok(Some(greeting)) => println!("{}", vec![greeting.text; greeting.times].join(" ")),
            Ok(None) => println!("no greeting is set"),
            // The value is no greeting: the next one may be.
            Err(error) if error.code == 500 => println!("{error}"),
            Err(error) => return println!("the config cannot be followed: {error}"),
        }
    }
}

//! A test fixture, not an example of Cloister: a node as its environment says, for what only a real one answers.

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let cloister = cloister::start().await?;
    println!("up as {}", cloister.node().name());
    println!("{}", cloister.wait_stopped().await);
    Ok(())
}

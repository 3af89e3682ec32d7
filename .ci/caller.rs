//! The program of `.ci/init` that is scaled: every node calls the owners of keys all the time, and says at its end what came of that.

use std::time::Duration;

use cloister::ManagerArguments;
use cloister::ractor::{Actor, ActorProcessingErr, ActorRef, RpcReplyPort};
use cloister::ractor_cluster::RactorClusterMessage;

struct Echo;

#[derive(RactorClusterMessage)]
enum EchoMessage {
    #[rpc]
    Echo(u64, RpcReplyPort<u64>),
}

impl Actor for Echo {
    type Msg = EchoMessage;
    type State = ();
    type Arguments = ();

    async fn pre_start(&self, _: ActorRef<EchoMessage>, (): ()) -> Result<(), ActorProcessingErr> {
        Ok(())
    }

    async fn handle(
        &self,
        _: ActorRef<EchoMessage>,
        EchoMessage::Echo(number, reply): EchoMessage,
        (): &mut (),
    ) -> Result<(), ActorProcessingErr> {
        Ok(reply.send(number)?)
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments = ManagerArguments::load()?;
    let cloister = arguments.handle();
    let (echo, _) = Actor::spawn(None, Echo, ()).await?;
    cloister.register("echo", &echo)?;
    cloister::start_with_arguments(arguments).await?;
    println!("{} is up beside {} others", cloister.node(), cloister.siblings().len());

    let (mut answered, mut number) = (0, 0_u64);
    // A node that leaves calls no more.
    let draining = cloister.wait_draining();
    tokio::pin!(draining);
    loop {
        number += 1;
        let key = format!("user:{number}");
        let message = |reply| EchoMessage::Echo(number, reply);
        tokio::select! {
            answer = cloister.call("echo", &key, message, Duration::from_secs(5)) => match answer {
                Ok(echoed) => answered += u64::from(echoed == number),
                Err(error) => println!("a call failed: {error}"),
            },
            () = &mut draining => {
                println!("{answered} calls were answered; {}", cloister.wait_stopped().await);
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

//! `cargo cloister init`: the files that a program needs to run as a cluster, with everything said in them.

mod context;
#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use cloister_config::{Config, ConfigError, ConfigSources};
use thiserror::Error;

use self::context::{Context, context};
use crate::table::printable;

/// The name of the application and of the compose service, if there is no other.
const DEFAULT_NAME: &str = "app";

/// How long a pod serves on after it was asked to end, unless the configuration says how long. Proxies on other machines still send it new
/// connections until they have heard of it.
const POD_DRAIN_DELAY: Duration = Duration::from_secs(5);

/// How much longer than its configured times a node may take to stop.
const GRACE: Duration = Duration::from_secs(5);

/// Write a commented cloister.toml, a compose.yaml and a Dockerfile, where there are none.
///
/// The image is built from this package, its workspace, and path dependencies wherever they are. A file that exists is
/// never touched.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// The name of the application, in node names and as service; that of the package if not given.
    #[arg(long, value_parser = name)]
    name: Option<String>,

    /// Write kubernetes.yaml too.
    #[arg(long)]
    kubernetes: bool,

    /// The directory of the crate.
    #[arg(default_value = ".")]
    directory: PathBuf,
}

/// A file could not be written, or we would not know what to write.
#[derive(Debug, Error)]
pub(crate) enum InitError {
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a valid manifest", path.display())]
    Manifest { path: PathBuf, source: toml::de::Error },
    #[error(
        "{}: {key} = \"{}\" cannot stand in a Dockerfile: use letters, digits, `-`, `_`, `.` or `+`, and none of the last \
         four at the beginning",
        path.display(),
        printable(name)
    )]
    Name { path: PathBuf, key: &'static str, name: String },
    #[error("the build of {} cannot be written down: {reason}", path.display())]
    Context { path: PathBuf, reason: String },
    #[error(transparent)]
    Config(#[from] ConfigError),
    #[error("cannot write to stdout")]
    Output(#[from] io::Error),
}

/// Writes what is missing and prints what it did.
pub(crate) fn init(options: Options) -> Result<ExitCode, InitError> {
    write_missing(&options, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn write_missing(options: &Options, output: &mut impl Write) -> Result<(), InitError> {
    let directory = &options.directory;
    let mut program = program(directory)?;
    let fallback = program.as_ref().and_then(|program| name(&program.package.replace('_', "-")).ok());
    let name = options.name.clone().or(fallback).unwrap_or_else(|| DEFAULT_NAME.to_owned());
    let config_path = directory.join("cloister.toml");
    let name_line = match &options.name {
        Some(name) => format!("name = \"{name}\""),
        None => format!("# name = \"{name}\""),
    };
    let config = Config::load_from(ConfigSources::none().optional_file(&config_path))?;
    let context = match program {
        Some(_) => {
            context(directory).map_err(|reason| InitError::Context { path: directory.clone(), reason })?
        }
        None => Context::of_nothing(),
    };
    if let Some(program) = &mut program {
        program.binary = context.programs.image(&program.package).to_owned();
        check_name(&directory.join("Cargo.toml"), "bin.name", &program.binary)?;
    }
    let filling = Filling { name, name_line, program: program.as_ref(), context: &context, config: &config };
    let (ignore, ignored) = filling.dockerignore();
    let mut files = vec![
        ("cloister.toml", filling.fill(include_str!("init/cloister.toml"))),
        ("compose.yaml", filling.fill(include_str!("init/compose.yaml"))),
        ("Dockerfile", filling.fill(include_str!("init/Dockerfile"))),
        (ignore, ignored),
    ];
    if options.kubernetes {
        files.push(("kubernetes.yaml", filling.fill(include_str!("init/kubernetes.yaml"))));
    }
    for (file, text) in files {
        let path = directory.join(file);
        let did = if write_new(&path, &text)? { "wrote" } else { "exists, left as it is:" };
        writeln!(output, "{did} {}", path.display())?;
    }
    Ok(write!(output, "{}", filling.next(options))?)
}

/// What is filled into the templates.
struct Filling<'a> {
    name: String,
    name_line: String,
    program: Option<&'a Program>,
    context: &'a Context,
    config: &'a Config,
}

impl Filling<'_> {
    fn fill(&self, template: &str) -> String {
        let package = self.program.map_or("your-program", |program| &program.package);
        let binary = self.program.map_or("your-program", |program| &program.binary);
        let Context { root, workspace, package: place, .. } = self.context;
        let dockerfile = if place == "." { "Dockerfile".to_owned() } else { format!("{place}/Dockerfile") };
        let workdir = self.in_image(workspace);
        let docker_build = self.docker_build();
        let timing = &self.config.timing;
        let seconds = |time: Duration| time.as_millis().div_ceil(1000).to_string();
        let delay = self.config.drain_delay;
        let pod_delay = if delay.is_zero() { POD_DRAIN_DELAY } else { delay };
        let keeps_state = self.config.state_file.is_some();
        let state_env =
            "            - { name: CLOISTER__STATE_FILE, value: /var/lib/{name}/cluster.state }\n";
        let state_mount = "          volumeMounts: [{ name: state, mountPath: /var/lib/{name} }]
  volumeClaimTemplates:
    - metadata: { name: state }
      spec:
        accessModes: [ReadWriteOnce]
        resources: { requests: { storage: 16Mi } }
";
        let workload = "  serviceName: {name}
  # Required: a pod is ready only when enough others have started.
  podManagementPolicy: Parallel
";
        let if_state = |text: &'static str| if keeps_state { text } else { "" };
        let compose_state = match keeps_state {
            true => {
                "      # In the container itself: it outlives `docker restart`, not the container. For more, a volume for each node: a service
      # per node instead of replicas.
      CLOISTER__STATE_FILE: /tmp/cluster.state
"
            }
            false => {
                "    # A CLOISTER__STATE_FILE needs a volume that outlives the container, one for each node: a service per node instead of replicas.
"
            }
        };
        let config = if place == "." { "cloister.toml".to_owned() } else { format!("{place}/cloister.toml") };
        // What is filled in has no brace but in the first five, so that nothing is filled in twice.
        [
            ("{context_note}", self.context_note().as_str()),
            ("{state_env}", if_state(state_env)),
            ("{state_mount}", if_state(state_mount)),
            ("{workload}", if_state(workload)),
            ("{compose_state}", compose_state),
            ("{config}", &config),
            ("{kind}", if keeps_state { "StatefulSet" } else { "Deployment" }),
            ("{name_line}", &self.name_line),
            ("{name}", &self.name),
            ("{package}", package),
            ("{binary}", binary),
            ("{context}", root),
            ("{base}", &self.in_image(".")),
            ("{copy_outline}", &self.copy_outline()),
            ("{workdir}", &workdir),
            ("{dockerfile}", &dockerfile),
            ("{docker_build}", &docker_build),
            ("{port}", &self.config.port_or_default().to_string()),
            ("{rehash}", &seconds(timing.rehash_timeout)),
            ("{leave}", &seconds(timing.leave_timeout)),
            ("{drain_delay}", &seconds(pod_delay)),
            ("{grace}", &seconds(delay + self.config.drain_timeout + timing.leave_timeout + GRACE)),
            ("{pod_grace}", &seconds(pod_delay + self.config.drain_timeout + timing.leave_timeout + GRACE)),
        ]
        .iter()
        .fold(template.to_owned(), |text, (key, value)| text.replace(key, value))
    }

    /// Where a path of the context is in the image that builds.
    fn in_image(&self, path: &str) -> String {
        let base = self.context.absolute.as_deref().unwrap_or("/build");
        if path == "." { base.to_owned() } else { format!("{}/{path}", base.trim_end_matches('/')) }
    }

    /// The lines that take over the workspace without its code, and all of what it depends on by path.
    fn copy_outline(&self) -> String {
        let Context { workspace, outside, .. } = self.context;
        let trees = [workspace].into_iter().chain(outside).map(|path| self.in_image(path));
        trees.map(|tree| format!("COPY --from=outline {tree} {tree}\n")).collect()
    }

    /// Why the build begins where it does.
    fn context_note(&self) -> String {
        let Context { root, outside, .. } = self.context;
        if root == "." {
            return "#\n".to_owned();
        }
        let why = match outside.as_slice() {
            [] => "the root of the workspace".to_owned(),
            outside => format!(
                "the directory that has this workspace and what it depends on by path: {}",
                outside.join(", ")
            ),
        };
        format!(
            "#\n# The build begins at {root}, {why}.\n# Dockerfile.dockerignore names what is taken from there; it needs BuildKit, \
             the default since Docker 23.\n#\n"
        )
    }

    /// The file that says what the build takes, and its text.
    fn dockerignore(&self) -> (&'static str, String) {
        let always = include_str!("init/dockerignore");
        let Context { root, workspace, outside, .. } = self.context;
        if root == "." {
            return (".dockerignore", always.to_owned());
        }
        // A root that is the workspace is taken as a whole.
        let mut text = String::new();
        if workspace != "." && !outside.iter().any(|path| path == ".") {
            text += "*\n";
            text.extend([workspace].into_iter().chain(outside).map(|path| format!("!{path}\n")));
        }
        ("Dockerfile.dockerignore", text + always)
    }

    /// What to do next.
    fn docker_build(&self) -> String {
        format!("docker build -f Dockerfile -t {} {}", self.name, self.context.root)
    }

    fn next(&self, options: &Options) -> String {
        let Self { name, program, context, .. } = self;
        let mut steps = Vec::new();
        if options.directory != Path::new(".") {
            steps.push(format!("cd {}", options.directory.display()));
        }
        if program.is_none() {
            steps.push(
                "no package in Cargo.toml here: put the name of your program for `your-program` in Dockerfile".to_owned(),
            );
        } else if context.programs.names.is_empty() {
            steps.push("no program in this package yet: `cargo run` must start one".to_owned());
        } else if context.programs.default_one().is_none() {
            let (all, taken) =
                (context.programs.names.join(", "), program.map_or("", |program| program.binary.as_str()));
            steps.push(format!(
                "several programs ({all}): the image has {taken}; for another set `default-run` in Cargo.toml, and its name in Dockerfile"
            ));
        }
        if program.is_some() && !context.dependencies.contains("cloister") {
            steps
                .push("let the program depend on `cloister`, and call `cloister::start().await?`".to_owned());
        }
        if self.config.cookie.is_some() {
            steps.push(
                "cloister.toml has the cookie and becomes a part of the image: take it out, and mount a `cookie_file`"
                    .to_owned(),
            );
        }
        let lock = options.directory.join(&context.root).join(&context.workspace).join("Cargo.lock");
        if program.is_some() && !lock.exists() {
            steps.push(
                "cargo generate-lockfile                          # the image is built with --locked"
                    .to_owned(),
            );
        }
        steps.push(
            "cargo cloister run -n 3                          # three nodes on this machine".to_owned(),
        );
        steps.push(format!("docker compose up --build --scale {name}=3"));
        if options.kubernetes {
            steps.push(format!("{:<47}  # the image; push it to your registry", self.docker_build()));
            steps.push(
                "kubectl apply -f kubernetes.yaml                 # with the name of that image in it"
                    .to_owned(),
            );
        }
        steps.push(
            "cargo cloister doctor                            # where something does not work".to_owned(),
        );
        format!("\nNext:\n{}", steps.iter().map(|step| format!("  {step}\n")).collect::<String>())
    }
}

/// Writes `text` to a new file; false if there is one already, whatever it holds.
fn write_new(path: &Path, text: &str) -> Result<bool, InitError> {
    let failed = |source| InitError::Write { path: path.to_owned(), source };
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Ok(mut file) => file.write_all(text.as_bytes()).map(|()| true).map_err(failed),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(failed(error)),
    }
}

/// A package and its program.
struct Program {
    package: String,
    binary: String,
}

/// The name of the program in `directory` that `cargo run` starts, if there is one.
pub(crate) fn program_name(directory: &Path) -> Option<String> {
    let package = program(directory).ok().flatten()?;
    match context::programs(directory) {
        Some(programs) => programs.default_one().map(str::to_owned),
        // A package without code has a name nevertheless.
        None => Some(package.binary),
    }
}

/// The package in `directory`, and its program as far as the manifest names it.
fn program(directory: &Path) -> Result<Option<Program>, InitError> {
    let path = directory.join("Cargo.toml");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(InitError::Read { path, source }),
    };
    let manifest: toml::Table =
        text.parse().map_err(|source| InitError::Manifest { path: path.clone(), source })?;
    let name = |table: &toml::Table| table.get("name").and_then(toml::Value::as_str).map(str::to_owned);
    let bin = manifest.get("bin").and_then(|bins| bins.get(0)).and_then(toml::Value::as_table).and_then(name);
    let package = manifest.get("package").and_then(toml::Value::as_table).and_then(name);
    for (key, name) in [("bin.name", &bin), ("package.name", &package)] {
        if let Some(name) = name {
            check_name(&path, key, name)?;
        }
    }
    let package_or_bin = package.clone().or_else(|| bin.clone());
    Ok(bin.or(package).zip(package_or_bin).map(|(binary, package)| Program { package, binary }))
}

/// A Dockerfile must take `name` as it is.
fn check_name(path: &Path, key: &'static str, name: &str) -> Result<(), InitError> {
    match is_plain(name) {
        true => Ok(()),
        false => Err(InitError::Name { path: path.to_owned(), key, name: name.to_owned() }),
    }
}

/// Whether a shell, a Dockerfile and a JSON text take the name of a program for one word, as it is. Cargo lets the name of a `[[bin]]`
/// be nearly anything.
fn is_plain(name: &str) -> bool {
    let plain = |c: char| c.is_alphanumeric() || "-_.+".contains(c);
    name.chars().all(plain) && name.chars().next().is_some_and(char::is_alphanumeric)
}

/// A name that is good for a node, for a compose service and for DNS.
fn name(text: &str) -> Result<String, String> {
    let letters = text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    let ends = text.starts_with('-') || text.ends_with('-');
    if (1..=63).contains(&text.len()) && letters && !ends {
        Ok(text.to_owned())
    } else {
        Err("use 1 to 63 lower-case letters, digits or `-`, with no `-` at either end".to_owned())
    }
}

//! Greets whoever is named on the command line.

use hello::greeting;

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    println!("{}", greeting(&names));
}

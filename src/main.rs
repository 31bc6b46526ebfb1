fn main() {
    println!("quorate");
}

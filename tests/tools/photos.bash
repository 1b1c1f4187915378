# What tests of image files share: making small ones without any other program.
little() { printf "\\x$(printf %02x $(($1 & 255)))\\x$(printf %02x $(($1 >> 8 & 255)))\\x$(printf %02x $(($1 >> 16 & 255)))\\x00"; }
# A BMP of W x H pixels, W a multiple of 4: noise that is its number's.
bmp() { # FILE W H NUMBER
    { printf BM; little $((54 + $2 * $3 * 3)); little 0; little 54; little 40; little "$2"; little "$3"
      printf '\x01\x00\x18\x00'; for _ in 1 2 3 4 5 6; do little 0; done; { seq "$4" 99999 || true; } | head -c $(($2 * $3 * 3)); } >"$1"
}

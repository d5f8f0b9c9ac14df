package code

import "strings"

// base58Alphabet is Bitcoin's: no 0, O, I or l.
const base58Alphabet = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"

// base58Values is the alphabet the other way round; 255 for what is not in it.
var base58Values = func() (values [256]byte) {
	for i := range values {
		values[i] = 255
	}
	for i := range len(base58Alphabet) {
		values[base58Alphabet[i]] = byte(i)
	}
	return values
}()

// fromBase58 takes s as a number in base 58 and writes it in base 256; each leading 1, which the number does not show,
// is a zero byte. That makes it one to one: toBase58 gives s back.
func fromBase58(s string) ([]byte, bool) {
	if len(s) > longestBase58 {
		return nil, false
	}
	ones := len(s) - len(strings.TrimLeft(s, "1"))
	number := make([]byte, 0, len(s)) // least significant byte first
	for i := ones; i < len(s); i++ {
		carry := int(base58Values[s[i]])
		if carry == 255 {
			return nil, false
		}
		for j := range number {
			carry += 58 * int(number[j])
			number[j] = byte(carry)
			carry >>= 8
		}
		if carry > 0 {
			number = append(number, byte(carry))
		}
	}
	return reversedAfter(make([]byte, ones, ones+len(number)), number), true
}

// toBase58 is the inverse of fromBase58, for any bytes.
func toBase58(b []byte) string {
	zeros := 0
	for zeros < len(b) && b[zeros] == 0 {
		zeros++
	}
	digits := make([]byte, 0, len(b)*2) // least significant digit first
	for _, v := range b[zeros:] {
		carry := int(v)
		for j := range digits {
			carry += 256 * int(digits[j])
			digits[j] = byte(carry % 58)
			carry /= 58
		}
		for ; carry > 0; carry /= 58 {
			digits = append(digits, byte(carry%58))
		}
	}
	out := reversedAfter(make([]byte, zeros, zeros+len(digits)), digits)
	for i, d := range out {
		out[i] = base58Alphabet[d]
	}
	return string(out)
}

// reversedAfter appends the digits, most significant first.
func reversedAfter(dst, digits []byte) []byte {
	for i := len(digits) - 1; i >= 0; i-- {
		dst = append(dst, digits[i])
	}
	return dst
}

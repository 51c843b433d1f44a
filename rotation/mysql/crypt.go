package mysql

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-mysql-org/go-mysql/mysql"
)

const (
	sha2Salt   = 20   // bytes, of both plugins
	sha256Runs = 5000 // of sha256_password
	maxKept    = 256  // bytes of a hash; real ones have 70
)

// keeps reports whether what the plugin of MySQL keeps, in hexadecimal, is of the password.
// It does not know what is of another form than the server's own.
func keeps(plugin, kept, password string) (bool, error) {
	b, err := hex.DecodeString(kept)
	if err != nil || len(b) > maxKept {
		return false, fmt.Errorf("what %s keeps %w", plugin, errText)
	}
	text, want := string(b), ""
	switch plugin {
	case mysql.AUTH_NATIVE_PASSWORD:
		want = mysql.EncodePasswordHex(mysql.NativePasswordHash([]byte(password)))
	case mysql.AUTH_CACHING_SHA2_PASSWORD: // $A$005$, the salt, the digest; the number is of thousands
		const begin = len("$A$005$")
		if len(text) < begin+sha2Salt || text[:3] != "$A$" {
			break
		}
		runs, err := strconv.ParseUint(text[3:begin-1], 16, 16)
		if err != nil || runs == 0 {
			break
		}
		want = text[:begin+sha2Salt] + sha256Crypt(password, text[begin:begin+sha2Salt], int(runs)*1000)
	case mysql.AUTH_SHA256_PASSWORD: // $5$, the salt, $, the digest
		rest, ok := strings.CutPrefix(text, "$5$")
		if !ok || len(rest) < sha2Salt {
			break
		}
		want = "$5$" + rest[:sha2Salt] + "$" + sha256Crypt(password, rest[:sha2Salt], sha256Runs)
	}
	return want != "" && subtle.ConstantTimeCompare([]byte(text), []byte(want)) == 1, nil
}

// sha256Crypt is the digest of SHA-crypt (https://www.akkadia.org/drepper/SHA-crypt.txt)
// with SHA-256, but that MySQL's salts are longer than those there.
func sha256Crypt(password, salt string, runs int) string {
	n := len(password)
	b := sha256.Sum256([]byte(password + salt + password))
	a := sha256.New()
	a.Write([]byte(password + salt + repeat(b[:], n)))
	for bits := n; bits > 0; bits >>= 1 {
		if bits&1 != 0 {
			a.Write(b[:])
		} else {
			a.Write([]byte(password))
		}
	}
	sum := a.Sum(nil)
	dp := sha256.Sum256([]byte(strings.Repeat(password, n)))
	ds := sha256.Sum256([]byte(strings.Repeat(salt, 16+int(sum[0]))))
	p, s := repeat(dp[:], n), repeat(ds[:], len(salt))
	for i := range runs {
		c := sha256.New()
		first, last := string(sum), p
		if i&1 != 0 {
			first, last = last, first
		}
		c.Write([]byte(first))
		if i%3 != 0 {
			c.Write([]byte(s))
		}
		if i%7 != 0 {
			c.Write([]byte(p))
		}
		c.Write([]byte(last))
		sum = c.Sum(nil)
	}
	return cryptText(sum)
}

// repeat returns n bytes of b over and over.
func repeat(b []byte, n int) string {
	return strings.Repeat(string(b), n/len(b)+1)[:n]
}

// cryptText writes a digest in crypt's own base 64, whose order of bytes goes round.
func cryptText(sum []byte) string {
	const digits = "./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
	var b strings.Builder
	write := func(bits uint32, n int) {
		for range n {
			b.WriteByte(digits[bits&63])
			bits >>= 6
		}
	}
	i, j, k := 0, 10, 20
	for range 10 {
		write(uint32(sum[i])<<16|uint32(sum[j])<<8|uint32(sum[k]), 4)
		i, j, k = k+1, i+1, j+1
	}
	write(uint32(sum[31])<<8|uint32(sum[30]), 3)
	return b.String()
}

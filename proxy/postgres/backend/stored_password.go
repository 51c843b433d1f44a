package backend

import (
	"crypto/md5"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"fmt"

	"github.com/xdg-go/scram"

	"github.com/credproxy/credproxy/secrets"
)

// scramSaltSize is what PostgreSQL takes itself (SCRAM_DEFAULT_SALT_LEN), in bytes.
const scramSaltSize = 16

// ScramVerifier returns what a server keeps of cred's password for SCRAM-SHA-256, with a
// salt of its own, in the form of the column rolpassword (section "pg_authid"). Who sends
// it in a statement does not tell the password to the server's log. The error is a
// *secrets.ReleaseError if link is not fit for it.
func ScramVerifier(cred *secrets.Credential, link secrets.Link, iterations int) (string, error) {
	return secrets.Release(cred, secrets.StoredHash, link, func(password string) (string, error) {
		client, err := scram.SHA256.NewClientUnprepped("", saslprep(password), "")
		if err != nil {
			return "", fmt.Errorf("derive the keys of SCRAM: %w", err)
		}
		salt := make([]byte, scramSaltSize)
		_, _ = rand.Read(salt) // never fails
		keys, err := client.GetStoredCredentialsWithError(scram.KeyFactors{Salt: string(salt), Iters: iterations})
		if err != nil {
			return "", fmt.Errorf("derive the keys of SCRAM: %w", err)
		}
		b64 := base64.StdEncoding.EncodeToString
		return fmt.Sprintf("SCRAM-SHA-256$%d:%s$%s:%s", iterations, b64(salt), b64(keys.StoredKey), b64(keys.ServerKey)), nil
	})
}

// MD5Hash returns what a server keeps of cred's password for md5, in the form of the
// column rolpassword. The error is a *secrets.ReleaseError if link is not fit for it.
func MD5Hash(cred *secrets.Credential, link secrets.Link) (string, error) {
	return secrets.Release(cred, secrets.StoredHash, link, func(password string) (string, error) {
		sum := md5.Sum([]byte(password + cred.Username))
		return "md5" + hex.EncodeToString(sum[:]), nil
	})
}

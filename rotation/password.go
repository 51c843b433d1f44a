package rotation

import (
	"context"
	"crypto/rand"
	"fmt"
	"math/big"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/secretsmanager"

	"github.com/credproxy/credproxy/rotation/store"
)

// PasswordRules say what new passwords are made of. The zero value stands for the
// defaults of AWS's templates: 32 characters of all four classes.
type PasswordRules struct {
	Length             int    // 0: 32
	Exclude            string // characters
	NoNumbers          bool
	NoPunctuation      bool
	NoUppercase        bool
	NoLowercase        bool
	EachClass          bool // at least one of each class that is not left out
	FromSecretsManager bool // by GetRandomPassword, instead of here
}

// DefaultExclude are the characters that AWS's templates leave out unless told otherwise:
// they have a meaning in connection strings and shells.
const DefaultExclude = `:/@"'\`

const (
	defaultLength = 32
	minLength     = 8   // fewer are guessed
	maxLength     = 256 // MySQL's clients take no longer one
)

func (r PasswordRules) classes() (classes []string) {
	for _, class := range []struct {
		left  bool
		chars string
	}{
		{r.NoLowercase, "abcdefghijklmnopqrstuvwxyz"}, {r.NoUppercase, "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
		{r.NoNumbers, "0123456789"}, {r.NoPunctuation, "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"},
	} {
		chars := strings.Map(func(c rune) rune {
			if strings.ContainsRune(r.Exclude, c) {
				return -1
			}
			return c
		}, class.chars)
		if !class.left && chars != "" {
			classes = append(classes, chars)
		}
	}
	return classes
}

// Validate reports whether a password can be made by the rules.
func (r PasswordRules) Validate() error {
	length := r.length()
	classes := r.classes()
	switch {
	case length < minLength || length > maxLength:
		return fmt.Errorf("PASSWORD_LENGTH: %d is not from %d to %d", length, minLength, maxLength)
	case len(strings.Join(classes, "")) < 10:
		return fmt.Errorf("the rules leave %d characters to make passwords of, which are soon guessed; exclude fewer", len(strings.Join(classes, "")))
	}
	return nil
}

func (r PasswordRules) length() int {
	if r.Length == 0 {
		return defaultLength
	}
	return r.Length
}

// generate makes a password.
func (r PasswordRules) generate(ctx context.Context, s *store.Store) (string, error) {
	if err := r.Validate(); err != nil {
		return "", err
	}
	if r.FromSecretsManager {
		return s.RandomPassword(ctx, &secretsmanager.GetRandomPasswordInput{
			PasswordLength: aws.Int64(int64(r.length())), ExcludeCharacters: &r.Exclude,
			ExcludeNumbers: &r.NoNumbers, ExcludePunctuation: &r.NoPunctuation, ExcludeUppercase: &r.NoUppercase, ExcludeLowercase: &r.NoLowercase,
			RequireEachIncludedType: &r.EachClass,
		})
	}
	classes := r.classes()
	all := strings.Join(classes, "")
	for {
		password := make([]byte, r.length())
		for i := range password {
			n, err := rand.Int(rand.Reader, big.NewInt(int64(len(all))))
			if err != nil {
				return "", err // never: crypto/rand
			}
			password[i] = all[n.Int64()]
		}
		if !r.EachClass || hasEach(string(password), classes) {
			return string(password), nil
		}
	}
}

func hasEach(password string, classes []string) bool {
	for _, class := range classes {
		if !strings.ContainsAny(password, class) {
			return false
		}
	}
	return true
}

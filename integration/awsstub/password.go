package awsstub

import (
	"crypto/rand"
	"math/big"
	"strings"

	sm "github.com/aws/aws-sdk-go-v2/service/secretsmanager"
)

const (
	lowercase   = "abcdefghijklmnopqrstuvwxyz"
	uppercase   = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	numbers     = "0123456789"
	punctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"

	defaultLength, maxLength = 32, 4096
)

type randomPassword struct{ RandomPassword string }

func (s *Server) getRandomPassword(_ *exchange, in *sm.GetRandomPasswordInput) (any, error) {
	is := func(p *bool) bool { return p != nil && *p }
	length := int64(defaultLength)
	if in.PasswordLength != nil {
		length = *in.PasswordLength
	}
	kinds := make([]string, 0, 5)
	for _, kind := range []struct {
		characters string
		excluded   bool
	}{{lowercase, is(in.ExcludeLowercase)}, {uppercase, is(in.ExcludeUppercase)}, {numbers, is(in.ExcludeNumbers)},
		{punctuation, is(in.ExcludePunctuation)}, {" ", !is(in.IncludeSpace)}} {
		kept := strings.Map(func(r rune) rune {
			if strings.ContainsRune(text(in.ExcludeCharacters), r) {
				return -1
			}
			return r
		}, kind.characters)
		if !kind.excluded && kept != "" {
			kinds = append(kinds, kept)
		}
	}
	each := in.RequireEachIncludedType == nil || *in.RequireEachIncludedType
	switch {
	case length < 1 || length > maxLength:
		return nil, refuse("InvalidParameterException", "Password length must be between 1 and %d.", maxLength)
	case len(text(in.ExcludeCharacters)) > maxLength:
		return nil, refuse("InvalidParameterException", "ExcludeCharacters is longer than %d characters.", maxLength)
	case len(kinds) == 0:
		return nil, refuse("InvalidParameterException", "No characters are left to make a password of.")
	case each && length < int64(len(kinds)):
		return nil, refuse("InvalidParameterException", "Password length is too short based on the required types.")
	}
	return randomPassword{passwordOf(kinds, int(length), each)}, nil
}

// passwordOf draws from all kinds alike, after one of each if each is set, and shuffles.
func passwordOf(kinds []string, length int, each bool) string {
	all := strings.Join(kinds, "")
	password := make([]byte, 0, length)
	if each {
		for _, kind := range kinds {
			password = append(password, kind[below(len(kind))])
		}
	}
	for len(password) < length {
		password = append(password, all[below(len(all))])
	}
	for i := len(password) - 1; i > 0; i-- {
		j := below(i + 1)
		password[i], password[j] = password[j], password[i]
	}
	return string(password)
}

func below(n int) int {
	i, err := rand.Int(rand.Reader, big.NewInt(int64(n)))
	if err != nil {
		panic(err) // crypto/rand's reader never fails
	}
	return int(i.Int64())
}

package awssm

import (
	"errors"
	"strings"

	"github.com/aws/smithy-go"

	"github.com/credproxy/credproxy/secrets"
	"github.com/credproxy/credproxy/secrets/awscfg"
)

// Explain makes a *secrets.Error of an error of an operation on a secret ("Errors" in its
// API reference), with what an operator would do about it; nil stays nil. which names the
// version or label that was asked for.
func Explain(id, operation, which string, err error) error {
	if err == nil {
		return nil
	}
	reason, advice := classify(operation, err)
	return secrets.Errorf(reason, "secret %s (%s): %w%s", id, which, awscfg.Plain(err), advice)
}

func classify(operation string, err error) (reason secrets.Reason, advice string) {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return secrets.Unavailable, ""
	}
	message := strings.ToLower(api.ErrorMessage())
	switch api.ErrorCode() {
	case "ResourceNotFoundException":
		// The same code for no such secret ("can't find the specified secret.")
		// and no such version ("... secret value for staging label: AWSPENDING").
		if strings.Contains(message, "staging label") || strings.Contains(message, "version") {
			return secrets.NoVersion, ""
		}
		return secrets.NotFound, "; check its name and region, and give the whole ARN if it is another account's"
	case "InvalidRequestException":
		if strings.Contains(message, "deletion") || strings.Contains(message, "deleted") {
			return secrets.NotFound, "; restore it, or name another secret"
		}
	case "InvalidParameterException", "ValidationException":
		return secrets.NotFound, "; check the secret id"
	case "DecryptionFailure":
		return secrets.Denied, allowDecrypt
	}
	reason = awscfg.ReasonOf(err)
	if reason != secrets.Denied || !strings.HasPrefix(api.ErrorCode(), "AccessDenied") {
		return reason, ""
	}
	if strings.Contains(message, "kms") {
		return reason, allowDecrypt
	}
	return reason, "; allow secretsmanager:" + operation + " on this secret, here and in the secret's own policy if it has one"
}

const allowDecrypt = "; allow kms:Decrypt on the key that encrypts this secret, here and in the key's policy, and see that the key is enabled"

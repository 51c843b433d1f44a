package awscfg

import (
	"context"
	"errors"
	"fmt"
	"strings"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials/processcreds"
	"github.com/aws/smithy-go"

	"github.com/credproxy/credproxy/secrets"
)

// ReasonOf classifies an error of any AWS API by its code ("Common error types"
// in the API references). What only one service says is for its caller.
func ReasonOf(err error) secrets.Reason {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return secrets.Unavailable
	}
	switch api.ErrorCode() {
	case "AccessDenied", "AccessDeniedException", "UnauthorizedOperation", "NotAuthorized", "AuthFailure",
		"UnrecognizedClientException", "InvalidClientTokenId", "InvalidAccessKeyId",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException",
		"InvalidIdentityToken", "IDPRejectedClaim", "OptInRequired", "RegionDisabledException",
		"IncompleteSignature", "IncompleteSignatureException":
		return secrets.Denied
	case "InvalidSignatureException", "SignatureDoesNotMatch":
		if skewed(api) {
			return secrets.Unavailable
		}
		return secrets.Denied
	}
	return secrets.Unavailable
}

// skewed tells a clock that is wrong from a key that is.
func skewed(api smithy.APIError) bool {
	return strings.HasPrefix(api.ErrorMessage(), "Signature expired") ||
		strings.HasPrefix(api.ErrorMessage(), "Signature not yet current")
}

// Expired reports whether AWS refused a call because the AWS credentials that
// signed it have expired.
func Expired(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch api.ErrorCode() {
	case "ExpiredToken", "ExpiredTokenException", "RequestExpired":
		return true
	}
	return false
}

// Plain is err for a log: without what the SDK quotes of an answer it could not
// decode, which may be a secret, and with a word on what is hard to guess.
func Plain(err error) error {
	if _, ok := errors.AsType[*smithy.DeserializationError](err); ok {
		if answer, ok := errors.AsType[*awshttp.ResponseError](err); ok {
			return fmt.Errorf("the answer (HTTP status %d, request id %q) is not one of AWS's", answer.HTTPStatusCode(), answer.RequestID)
		}
		return errors.New("the answer is not one of AWS's")
	}
	api, ok := errors.AsType[smithy.APIError](err)
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("no answer in time: %w", err)
	case ok && Expired(err):
		return fmt.Errorf("the AWS credentials have expired: %w", err)
	case ok && skewed(api):
		return fmt.Errorf("this machine's clock is wrong: %w", err)
	}
	return err
}

// explain takes the SDK's wrapping off an error that base or assumedRole made.
func explain(err error) error {
	if own, ok := errors.AsType[*secrets.Error](err); ok {
		return own
	}
	return secrets.Errorf(secrets.Unavailable, "get AWS credentials: %w", Plain(err))
}

// explainChain explains why the SDK's chain gave no credentials.
func explainChain(err error) error {
	if _, ok := errors.AsType[*processcreds.ProviderError](err); ok {
		// It quotes what the process printed: keys, if only the form was wrong.
		return secrets.Errorf(secrets.Unavailable, "get AWS credentials: the credential_process of the shared configuration failed or printed no credentials")
	}
	// EC2's metadata is the end of the chain: nothing before it was configured.
	if op, ok := errors.AsType[*smithy.OperationError](err); ok && op.ServiceID == "ec2imds" {
		const advice = "give the task, pod or instance a role, or set AWS_PROFILE or AWS_ACCESS_KEY_ID"
		return &secrets.Error{
			Reason: secrets.Unavailable, Hint: "credproxy has no credentials of AWS: " + advice + ".",
			Err: fmt.Errorf("no AWS credentials found: "+advice+": %w", err),
		}
	}
	e := &secrets.Error{Reason: ReasonOf(err), Err: fmt.Errorf("get AWS credentials: %w", Plain(err))}
	if e.Reason == secrets.Denied {
		e.Hint = "AWS refuses credproxy the credentials of its own role; the log of credproxy has AWS's words."
	}
	return e
}

// HasCode reports whether err is AWS's error of that code.
func HasCode(err error, code string) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == code
}

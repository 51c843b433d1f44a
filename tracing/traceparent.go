package tracing

import "strings"

// A traceparent of W3C Trace Context, version 00: 00-<32 hex>-<16 hex>-<2 hex>. Later versions
// may be longer; what they begin with is the same.
const traceparentLen = 55

// FindTraceparent returns the traceparent in a text that a client sends as its name: the text
// itself, or after "traceparent=", perhaps in quotes, as comments in SQL have it. "" is none.
// It has the length and the end of one; whether it is well formed, whoever uses it looks at.
func FindTraceparent(text string) string {
	if _, after, ok := strings.Cut(text, "traceparent="); ok {
		text = strings.TrimLeft(after, `'"`)
	}
	if len(text) < traceparentLen || text[2] != '-' {
		return ""
	}
	switch end := text[traceparentLen:]; {
	case end == "" || strings.ContainsRune(`'",;* `, rune(end[0])):
	case end[0] == '-' && !strings.HasPrefix(text, "00"): // what later versions have more
	default:
		return ""
	}
	return text[:traceparentLen]
}

package config

import (
	"regexp"
	"strings"
)

// arnRegion returns the region of a secret's ARN, "" for a name.
func arnRegion(secretID string) string {
	if m := secretARN.FindStringSubmatch(secretID); m != nil {
		return m[1]
	}
	return ""
}

// rdsRegion returns the region in the host name of an RDS endpoint, "" if the
// name is not one: name.id.REGION.rds.amazonaws.com, or in China
// name.id.rds.REGION.amazonaws.com.cn.
func rdsRegion(hostPort string) string {
	host, _, _ := strings.Cut(strings.ToLower(hostPort), ":")
	host = strings.TrimSuffix(host, ".")
	for _, pattern := range []*regexp.Regexp{rdsHost, rdsHostChina} {
		if m := pattern.FindStringSubmatch(host); m != nil {
			return m[1]
		}
	}
	return ""
}

// dsqlRegion returns the region in the host name of a cluster of Aurora DSQL, "" if the
// name is not one: ID.dsql.REGION.on.aws, or ID.dsql-SERVICE.REGION.on.aws by PrivateLink.
func dsqlRegion(host string) string {
	if m := dsqlHost.FindStringSubmatch(strings.TrimSuffix(strings.ToLower(host), ".")); m != nil {
		return m[1]
	}
	return ""
}

package main

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/arn"
)

// trust says who may take credproxy's role.
type trust struct {
	platform        string // ecs, eks, ec2 or lambda
	account, region string // narrow it, where AWS lets them
	oidcProvider    string // eks: the cluster's issuer, for IRSA; "": Pod Identity
	namespace       string // eks
	serviceAccount  string // eks
}

// policy is the trust policy of a role for the platform. Sources: "IAM roles for
// tasks" (ECS), "EKS Pod Identity" and "IAM roles for service accounts" (EKS),
// "IAM roles for Amazon EC2", "Lambda execution role" in AWS's guides.
func (t trust) policy() (policyDocument, error) {
	if t.platform != "eks" && (t.oidcProvider != "" || t.namespace != "" || t.serviceAccount != "") {
		return policyDocument{}, errors.New("--oidc-provider, --namespace and --service-account are for --trust eks")
	}
	switch t.platform {
	case "ecs":
		s := t.service("ecs-tasks.amazonaws.com", "sts:AssumeRole")
		if t.account != "" { // against a confused deputy
			s.Condition = s.Condition.with("StringEquals", "aws:SourceAccount", t.account).
				with("ArnLike", "aws:SourceArn", "arn:"+partitionOf(t.region)+":ecs:"+cmp.Or(t.region, "*")+":"+t.account+":*")
		}
		return newPolicy(s), nil
	case "ec2":
		principal := "ec2.amazonaws.com"
		if partitionOf(t.region) == "aws-cn" {
			principal += ".cn"
		}
		return newPolicy(t.service(principal, "sts:AssumeRole")), nil
	case "lambda":
		return newPolicy(t.service("lambda.amazonaws.com", "sts:AssumeRole")), nil
	case "eks":
		if t.oidcProvider != "" {
			return t.webIdentity()
		}
		return t.podIdentity(), nil
	}
	return policyDocument{}, fmt.Errorf("--trust %s: write ecs, eks, ec2 or lambda", t.platform)
}

func (t trust) service(principal string, actions ...string) *policyStatement {
	return &policyStatement{Sid: "TrustThePlatform", Effect: "Allow", Principal: map[string]string{"Service": principal}, Action: actions}
}

// podIdentity lets EKS Pod Identity hand the role to pods.
func (t trust) podIdentity() policyDocument {
	s := t.service("pods.eks.amazonaws.com", "sts:AssumeRole", "sts:TagSession")
	for tag, value := range map[string]string{"kubernetes-namespace": t.namespace, "kubernetes-service-account": t.serviceAccount} {
		if value != "" {
			s.Condition = s.Condition.with("StringEquals", "aws:RequestTag/"+tag, value)
		}
	}
	if t.account != "" {
		s.Condition = s.Condition.with("StringEquals", "aws:SourceAccount", t.account)
	}
	return newPolicy(s)
}

// webIdentity lets one service account of a cluster take the role (IRSA).
func (t trust) webIdentity() (policyDocument, error) {
	issuer := strings.TrimPrefix(t.oidcProvider, "https://")
	provider := arn.ARN{Partition: partitionOf(t.region), Service: "iam", AccountID: t.account, Resource: "oidc-provider/" + issuer}
	if parsed, err := arn.Parse(t.oidcProvider); err == nil {
		provider = parsed
		issuer = strings.TrimPrefix(provider.Resource, "oidc-provider/")
	}
	switch {
	case provider.AccountID == "":
		return policyDocument{}, errors.New("--oidc-provider: whose provider? Give its ARN, or --account")
	case provider.Service != "iam" || provider.Resource != "oidc-provider/"+issuer:
		return policyDocument{}, errors.New("--oidc-provider: neither the cluster's issuer nor the ARN of a provider; write arn:aws:iam::ACCOUNT:oidc-provider/ISSUER")
	case t.namespace == "" || t.serviceAccount == "":
		return policyDocument{}, errors.New("--oidc-provider needs --namespace and --service-account: without them every pod of the cluster could take the role")
	}
	s := &policyStatement{
		Sid: "TrustTheServiceAccount", Effect: "Allow",
		Principal: map[string]string{"Federated": provider.String()},
		Action:    []string{"sts:AssumeRoleWithWebIdentity"},
	}
	s.Condition = s.Condition.with("StringEquals", issuer+":aud", "sts.amazonaws.com").
		with("StringEquals", issuer+":sub", "system:serviceaccount:"+t.namespace+":"+t.serviceAccount)
	return newPolicy(s), nil
}

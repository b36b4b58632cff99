import { describe, expect, it } from 'vitest'
import { encodeForUrl, sha256Hex, signedHeaders } from './signature.js'

describe('signedHeaders', () => {
  const scope = {
    credentials: {
      accessKeyId: 'AKIAIOSFODNN7EXAMPLE',
      secretAccessKey: 'wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    },
    region: 'us-east-1',
    timeMs: Date.UTC(2013, 4, 24),
  }

  it('signs the examples of the documentation as it says', () => {
    const object = signedHeaders(
      {
        method: 'GET',
        url: new URL('https://examplebucket.s3.amazonaws.com/test.txt'),
        headers: { range: 'bytes=0-9' },
        bodyDigest: sha256Hex(''),
      },
      scope,
    )
    expect(object['authorization']).toBe(
      'AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, ' +
        'SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, ' +
        'Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41',
    )
    const list = signedHeaders(
      {
        method: 'GET',
        url: new URL('https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J'),
        headers: {},
        bodyDigest: sha256Hex(''),
      },
      scope,
    )
    expect(list['authorization']).toContain(
      'Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7',
    )
  })

  it('sends and signs a session token', () => {
    const credentials = { ...scope.credentials, sessionToken: 'token' }
    const request = { method: 'GET', url: new URL('https://host/'), headers: {}, bodyDigest: sha256Hex('') }
    const headers = signedHeaders(request, { ...scope, credentials })
    expect(headers['x-amz-security-token']).toBe('token')
    expect(headers['authorization']).toContain('x-amz-security-token')
  })

  it('encodes what stands in a path or a query', () => {
    expect(encodeForUrl("a b/ä+='(!*)~")).toBe('a%20b%2F%C3%A4%2B%3D%27%28%21%2A%29~')
  })
})

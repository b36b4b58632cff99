// Only so that the configuration of the repository is not taken: these tests lie in a project of their own.
export default {}
